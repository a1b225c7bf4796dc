"""Redis keys: slots, and the way back from a key to what it names."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from buffer.keys import Keys, member, parse_member
from buffer.model import SegmentKey, Trace
from buffer.settings import MAX_SHARDS, Settings
from tests.builders import trace_id

KEYS = Keys.of(Settings())
TRACE = Trace(42, trace_id(9))

traces = st.builds(Trace, st.integers(0, 2**64 - 1), st.integers(0, 2**128 - 1).map("{:032x}".format))
segment_keys = (st.binary(min_size=8, max_size=8) | st.binary(min_size=12, max_size=12)).map(SegmentKey)


@settings(max_examples=30)
@given(traces, segment_keys)
def test_all_of_a_trace_is_one_slot_whatever_bytes_a_segment_key_has(trace: Trace, key: SegmentKey) -> None:
    """A script may only touch one. Only the first pair of braces counts."""
    assert key_slot(KEYS.segments(trace) + key) == key_slot(KEYS.segments(trace)) == key_slot(KEYS.index(trace))


def test_a_shard_is_one_slot() -> None:
    assert all(key_slot(KEYS.queue(shard)) == key_slot(KEYS.claims(shard)) for shard in range(MAX_SHARDS))


@settings(max_examples=30)
@given(traces, segment_keys)
def test_the_way_back(trace: Trace, key: SegmentKey) -> None:
    assert parse_member(member(trace, key)) == (trace, key)
    assert KEYS.parse_segment(KEYS.segments(trace) + key) == (trace, key)


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"garbage",
        b"1:zz:12345678",
        b"x:" + b"0" * 32 + b":12345678",
        b"1:" + b"\xff" * 32 + b":12345678",
        b"1:" + b"0" * 32 + b":1234",
    ],
)
def test_a_foreign_entry_is_refused(entry: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 the type is the contract
        parse_member(entry)


@settings(max_examples=30)
@given(traces)
def test_a_shard_is_within_the_count(trace: Trace) -> None:
    assert all(0 <= Keys(b"p", shards).shard(trace) < shards for shards in (1, 3, MAX_SHARDS))


def test_the_shard_of_a_trace_is_the_same_in_every_release() -> None:
    """Entries of live segments depend on it."""
    assert [KEYS.shard(Trace(project, trace_id(9))) for project in (1, 2, 3, 4)] == [8, 2, 4, 6]


def test_traces_spread_over_the_shards() -> None:
    used = {KEYS.shard(Trace(1, trace_id(n))) for n in range(1000)}

    assert used == set(range(16))


def test_two_prefixes_share_no_key() -> None:
    other = Keys.of(Settings(key_prefix="span-buf-2"))

    for one, another in zip(
        (KEYS.index(TRACE), KEYS.segments(TRACE), KEYS.queue(1), KEYS.claims(1), KEYS.outcomes("d")),
        (other.index(TRACE), other.segments(TRACE), other.queue(1), other.claims(1), other.outcomes("d")),
        strict=True,
    ):
        assert one != another
        assert not another.startswith(KEYS.prefix + b":")
