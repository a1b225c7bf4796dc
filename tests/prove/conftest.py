"""A Redis for schedules: the explorer's own, as in `make prove`."""

from collections.abc import Iterator

import pytest

from prove.ground import own_redis
from prove.wire import Wire


@pytest.fixture(scope="session")
def wire(redis_program: str) -> Iterator[Wire]:
    with own_redis() as wire:
        yield wire
