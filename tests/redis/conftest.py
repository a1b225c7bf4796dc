"""Time in these tests goes in leaps of minutes, and each leap would look for a thousand former shards again."""

import pytest


@pytest.fixture(autouse=True)
def former_shards_are_looked_for_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.path.name != "test_shards.py":
        monkeypatch.setattr("buffer.buffer.FORMER_SHARDS_EVERY_MS", 10**15)
