"""The whole pipeline on one machine: a Redis for the buffer, another for the broker, a worker with beat.

The two Redis are apart because a full one must not stop the other: a worker whose broker refuses writes dies,
and with it the only way to empty the buffer. Everything stands in one directory, and all of it ends with the
process that started it (`child`).
"""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from embedded.redis import RedisServer
from embedded.worker import Worker


class Stack:
    def __init__(
        self,
        directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        keep: bool = False,
        ports: tuple[int, int] | None = None,
        children: int = 2,
    ) -> None:
        """`settings`: further SPANBUF_* for the worker. `keep`: what is acknowledged is on disk first.
        `ports`: of the buffer and the broker; found at the first start otherwise."""
        buffer_port, broker_port = ports or (None, None)
        self.directory = directory
        self.buffer = RedisServer(directory / "buffer", port=buffer_port, keep=keep)
        self.broker = RedisServer(directory / "broker", port=broker_port, keep=keep)
        self._settings = dict(settings or {})
        self._children = children
        self._worker: Worker | None = None

    @property
    def worker(self) -> Worker:
        if self._worker is None:
            raise RuntimeError("The stack has not been started.")
        return self._worker

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process part of this stack."""
        return {
            **self._settings,
            "SPANBUF_REDIS_URL": self.buffer.url,
            "SPANBUF_BROKER_URL": self.broker.url,
        }

    def start(self) -> Self:
        """Both servers, then the worker; returns when it takes tasks. Whatever stops it stops all of it."""
        try:
            self.start_servers()
            self._worker = Worker(self.directory, self.environment, children=self._children)
            self._worker.start()
        except BaseException:
            self.stop(grace_s=0)
            raise
        return self

    def start_servers(self) -> None:
        self.buffer.start()
        self.broker.start()

    def stop(self, grace_s: float = 30.0) -> bool:
        """Drains the worker, then stops the servers. True if every task in hand was done within the grace."""
        drained = self._worker is None or self._worker.stop(grace_s)
        self.broker.stop()
        self.buffer.stop()
        return drained

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # On the way out of an error or a signal nobody waits for tasks; they are kept or were scratch.
        self.stop(30.0 if kind is None else 0.0)
