"""One connection to the explorer's own Redis: a command, a reply, nothing between.

The explorer sends a few million commands one at a time, so the way there and back is all that counts: a Unix socket
and hiredis, about 20 us. redis-py has its own tests. Errors have the classes the library knows.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from typing import Any

import hiredis
from redis.exceptions import NoScriptError, OutOfMemoryError, ResponseError

Word = bytes | int | str
Words = Sequence[Word]

NO_ROOM = ("CONFIG", "SET", "maxmemory", "1")
ROOM = ("CONFIG", "SET", "maxmemory", "0")


def _error(text: str) -> ResponseError:
    if text.startswith("NOSCRIPT"):
        return NoScriptError(text)
    if text.startswith(("OOM", "-OOM")) or "OOM command not allowed" in text:
        return OutOfMemoryError(text)
    return ResponseError(text)


class Wire:
    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(path)
        self._reader = hiredis.Reader(replyError=_error)
        self.commands = 0
        self._known_scripts: set[str] = set()

    def call(self, words: Words) -> Any:
        """The reply; an error reply is returned, as in a pipeline, not raised."""
        return self.calls((words,))[0]

    def calls(self, commands: Sequence[Words]) -> list[Any]:
        self.commands += len(commands)
        packed = [hiredis.pack_command(tuple(words)) for words in commands]  # type: ignore[arg-type]
        self._socket.sendall(b"".join(packed))
        return [self._reply() for _ in commands]

    def know_scripts(self, sources: Iterable[str]) -> None:
        """So that a schedule has the same steps whichever came before it."""
        if unknown := set(sources) - self._known_scripts:
            self.calls([("SCRIPT", "LOAD", source) for source in unknown])
            self._known_scripts |= unknown

    def forget_scripts(self) -> None:
        self.call(("SCRIPT", "FLUSH"))
        self._known_scripts.clear()

    def refused(self, words: Words) -> Any:
        """The same command at a moment when Redis has no memory left."""
        return self.calls((NO_ROOM, words, ROOM))[1]

    def _reply(self) -> Any:
        while (reply := self._reader.gets()) is False:
            received = self._socket.recv(65536)
            if not received:
                raise ConnectionError("the explorer's Redis has gone")
            self._reader.feed(received)
        return reply

    def close(self) -> None:
        self._socket.close()
