"""The dictionaries in Redis: each is there before a part is packed with it, and outlives every part that was.

On a span's way: beside append and load, which ask for the dictionary to pack with, and for those that parts name.
Every dictionary, and the name of the one in use, is kept three times, in slots that a cluster spreads over its nodes.
Who uses one renews its TTL and mends its copies, once a minute at the most. Nothing here stops an append: when in doubt
it packs without; and a part whose dictionary is missing stays where it is.
"""

from __future__ import annotations

from contextlib import suppress
from logging import getLogger
from typing import Any

import zstandard

from buffer import scripts
from buffer.dictionary import NO_DICTIONARY, Dictionary, identity
from buffer.errors import BufferUnavailable, DictionaryMissing
from buffer.keys import Keys
from buffer.scripts import Argument, Client, Command
from buffer.settings import Settings

LOOK_EVERY_MS = 10_000
RENEW_EVERY_MS = 60_000
MAX_HELD = 8
"""In memory, those used last; each is less than a megabyte."""

logger = getLogger(__name__)


class Dictionaries:
    """What one process knows of them."""

    def __init__(self, client: Client, keys: Keys, settings: Settings) -> None:
        self.client = client
        self.keys = keys
        self.settings = settings
        self._now_ms = 0
        self._in_use = NO_DICTIONARY
        self._looked_at_ms: int | None = None
        self._held: dict[int, Dictionary] = {}
        self._renewed_at_ms: dict[int, int] = {}
        self._missing: set[int] = set()
        self._tried: set[int] = set()

    def at(self, now_ms: int) -> Dictionaries:
        """From here on it is then; and what was missing or could not be renewed is tried once more."""
        self._now_ms = now_ms
        self._missing.clear()
        self._tried.clear()
        return self

    def in_use(self) -> Dictionary:
        """The one to pack with: known to be in Redis, with its whole TTL, as of a minute ago."""
        if self._is_due(self._looked_at_ms, LOOK_EVERY_MS):
            self._looked_at_ms = self._now_ms
            self._in_use = self._look()
        return self._in_use

    def get(self, dictionary_id: int) -> Dictionary:
        """The one that a part names. Raises DictionaryMissing."""
        dictionary = self._held.get(dictionary_id)
        if dictionary is None or not self._is_fresh(dictionary_id):
            dictionary = self._held.pop(dictionary_id, None) or self._fetched(dictionary_id)
            self._hold(dictionary)
            self._renew(dictionary)
        return dictionary

    def adopt(self, dictionary: Dictionary) -> None:
        """From here on every process packs with it. When BufferUnavailable is raised some may."""
        copies = self.keys.dictionaries(dictionary.id), self.keys.dictionary_names()
        for keys, value in zip(copies, (dictionary.text, b"%08x" % dictionary.id), strict=True):
            commands = [Command(key, ("SET", key, value, "PX", self.settings.queue_ttl_ms)) for key in keys]
            scripts.run(self.client, commands, replicas=self.settings.ack_replicas)
        self.doubt()

    def doubt(self) -> None:
        """Redis was away, and may be another now: the next append asks again what is there."""
        self._looked_at_ms = None
        self._renewed_at_ms.clear()

    def _look(self) -> Dictionary:
        keys = self.keys.dictionary_names()
        name = next((found for key in keys if (found := self._run(key, ("GET", key)))), None)
        if name is None:
            return NO_DICTIONARY
        try:
            dictionary = self.get(int(name, 16))
        except (ValueError, DictionaryMissing):
            return NO_DICTIONARY
        for key in keys:  # a copy with another name is a newer one's, and it stays
            if not self._run(key, ("PEXPIRE", key, self.settings.queue_ttl_ms)):
                self._run(key, ("SET", key, name, "NX", "PX", self.settings.queue_ttl_ms))
        return dictionary if self._is_fresh(dictionary.id) else NO_DICTIONARY

    def _fetched(self, dictionary_id: int) -> Dictionary:
        keys = self.keys.dictionaries(dictionary_id)
        for key in keys if dictionary_id not in self._missing else ():
            text = self._run(key, ("GET", key))
            if text and identity(text) == dictionary_id:
                with suppress(zstandard.ZstdError):  # somebody else's bytes, under their right name
                    return Dictionary(text)
        if dictionary_id not in self._missing:
            logger.error(
                "Dictionary %08x is missing: parts that were packed with it cannot be read. They stay in Redis and go "
                "out when it is back. A worker that used it last puts it back by itself; else restore one of %s.",
                dictionary_id,
                ", ".join(key.decode() for key in keys),
            )
        self._missing.add(dictionary_id)
        raise DictionaryMissing(f"dictionary {dictionary_id:08x} is missing")

    def _hold(self, dictionary: Dictionary) -> None:
        self._held[dictionary.id] = dictionary
        while len(self._held) > MAX_HELD:
            self._renewed_at_ms.pop(oldest := next(iter(self._held)), None)
            del self._held[oldest]

    def _is_fresh(self, dictionary_id: int) -> bool:
        """At least one copy is sound and has its whole TTL, as of a minute ago."""
        return not self._is_due(self._renewed_at_ms.get(dictionary_id), RENEW_EVERY_MS)

    def _renew(self, dictionary: Dictionary) -> None:
        if self._is_fresh(dictionary.id) or dictionary.id in self._tried:
            return  # a node that is away must not be waited for with every part
        self._tried.add(dictionary.id)
        sound = [self._mended(key, dictionary.text) for key in self.keys.dictionaries(dictionary.id)]  # every one
        if any(sound):
            self._renewed_at_ms[dictionary.id] = self._now_ms

    def _mended(self, key: bytes, text: bytes) -> bool:
        """Its name is its digest, so there is only one thing that can rightly stand there."""
        if self._run(key, ("GET", key)) == text:
            return bool(self._run(key, ("PEXPIRE", key, self.settings.queue_ttl_ms)))
        return bool(self._run(key, ("SET", key, text, "PX", self.settings.queue_ttl_ms)))

    def _run(self, key: bytes, words: tuple[Argument, ...]) -> Any:
        """The reply; None when that node is away, or is full: there are further copies."""
        with suppress(BufferUnavailable):
            replicas = 0 if words[0] == "GET" else self.settings.ack_replicas
            return scripts.run(self.client, [Command(key, words)], replicas=replicas, foreign_types=True)[0]
        return None

    def _is_due(self, last_ms: int | None, every_ms: int) -> bool:
        return last_ms is None or not 0 <= self._now_ms - last_ms < every_ms
