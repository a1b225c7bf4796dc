"""What a schedule runs on: a Redis of the explorer's own, and a library that draws no lots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from unittest.mock import patch

from buffer import claim
from embedded.child import scratch_directory
from embedded.redis import RedisServer
from prove.wire import Wire

MAX_SHARDS = 4
"""Enough for every shard count that is tried, and saves 2,000 probes a flush."""


@contextmanager
def own_redis() -> Iterator[Wire]:
    with scratch_directory("prove") as directory, patch.object(claim, "MAX_SHARDS", MAX_SHARDS):
        socket = f"{directory}/socket"
        with RedisServer(directory / "redis", options={"unixsocket": socket}):
            wire = Wire(socket)
            try:
                yield wire
            finally:
                wire.close()


@contextmanager
def no_lots() -> Iterator[None]:
    """No two leases alike, and the same ones each time a schedule is run."""
    drawn = count()
    with patch.object(claim, "randbelow", lambda below: next(drawn) * 101 % below):
        yield
