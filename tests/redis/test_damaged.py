"""Foreign or damaged bytes in Redis: what has them stays and is counted, its neighbours go out."""

from __future__ import annotations

import struct

import pytest
import zstandard

from buffer.codec import Codec
from buffer.errors import BufferUnavailable
from buffer.model import SegmentKey
from buffer.scripts import Client
from tests.builders import grouped, identities, span, trace_id
from tests.flow import Flow, damage, fields, keys, leftovers


def header(version: int, spans: int, payload_bytes: int) -> bytes:
    return struct.pack(">BIHI", version, 0, spans, payload_bytes)


def stream(content: bytes) -> bytes:
    """A frame that does not say its size, without the magic number."""
    return zstandard.ZstdCompressor(write_content_size=False).compress(content)[4:]


PARTS = {
    "empty": b"",
    "short": b"\x02",
    "text": b"not a part at all, but long enough to have a header",
    "of another version": header(1, 1, 0) + Codec().pack(SegmentKey(b"12345678"), True, [span("a")]).blob[11:],
    "without a frame": header(2, 1, 0),
    "with a bomb": header(2, 2**16 - 1, 2**32 - 1) + zstandard.compress(b"\0" * 100_000),
    "with a frame that says its size": header(2, 1, 5) + zstandard.compress(b"q" * 53)[4:],
    "with a bomb inside the limit": header(2, 1, 1) + stream(b"\0" * 100_000),
    "of other content": header(2, 1, 44) + stream(b"q" * 53),
}


@pytest.fixture
def flow(store: Client) -> Flow:
    """Three segments that are due; the second is to be damaged."""
    flow = Flow(store, shards=1)
    flow.append(*(span("a", trace=trace_id(n)) for n in range(3)))
    flow.wait(10)
    return flow


def victim(flow: Flow) -> bytes:
    return keys(flow.client, "s")[1]


def expect_neighbours_only(flow: Flow, *, damaged: int = 1) -> None:
    loaded = flow.load()
    assert {segment.trace_id for segment in loaded} == {trace_id(0), trace_id(2)}
    assert loaded.damaged == damaged
    flow.cleanup(flow.publish(loaded))
    assert +flow.outcomes == {}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS.keys())
def test_a_part_that_cannot_be_read_keeps_its_segment_and_no_other(flow: Flow, part: bytes) -> None:
    segment = victim(flow)
    [digest] = fields(flow.client, segment)
    damage(flow.client, segment, digest, part)

    expect_neighbours_only(flow)

    assert keys(flow.client, "s") == [segment]
    assert fields(flow.client, segment)[digest] == part


def test_a_rotten_byte_anywhere_in_a_part_is_noticed(redis_client: Client) -> None:
    """Or changes nothing: one bit of a frame is not used."""
    flow = Flow(redis_client, max_segment_age=10**6, segment_ttl=10**7)
    sent = [span("a", note="some text to compress"), span("b", "a")]
    flow.append(*sent)
    [segment] = keys(redis_client, "s")
    [(digest, whole)] = fields(redis_client, segment).items()
    flow.wait(10)
    for at in range(len(whole)):
        damage(redis_client, segment, digest, whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        flow.wait(181)
        loaded = flow.load()
        assert loaded.damaged == 1 or identities(loaded[0].spans) == identities(sent), f"byte {at}"

    damage(redis_client, segment, digest, whole)
    flow.wait(181)
    assert grouped(flow.flush()) == {"a": {"a", "b"}}


def test_what_is_damaged_is_looked_at_again_at_every_lease_and_goes_out_once_it_is_whole(flow: Flow) -> None:
    segment = victim(flow)
    [(digest, whole)] = fields(flow.client, segment).items()
    damage(flow.client, segment, digest, b"x")
    flow.flush()
    for _ in range(3):
        flow.wait(181)
        assert flow.load().damaged == 1
    damage(flow.client, segment, digest, whole)

    flow.drain()

    assert {each.trace_id for each in flow.published} == {trace_id(n) for n in range(3)}
    assert leftovers(flow.client) == []


def test_what_comes_to_a_damaged_segment_goes_out(flow: Flow) -> None:
    """The damaged record stays, the newcomers have one of their own."""
    segment = victim(flow)
    [digest] = fields(flow.client, segment)
    damage(flow.client, segment, digest, b"x")
    flow.flush()
    flow.append(span("b", "a", trace=trace_id(1)))
    flow.wait(181)

    loaded = flow.load()

    assert (grouped(loaded), loaded.damaged) == ({"a": {"b"}}, 1)
    flow.cleanup(flow.publish(loaded))
    assert digest in fields(flow.client, segment)


def test_a_record_that_names_a_missing_part_is_damaged(flow: Flow) -> None:
    flow.load()
    segment = victim(flow)
    [digest] = [name for name in fields(flow.client, segment) if len(name) == 16]
    damage(flow.client, segment, digest, None)
    flow.wait(181)

    loaded = flow.load()

    assert {each.trace_id for each in loaded} == {trace_id(0), trace_id(2)}
    assert loaded.damaged == 1
    assert +loaded.outcomes == {"expired.segment_ttl": 1}


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"zz",
        b"z" * 20,
        b"z" * 50,
    ],
)
def test_a_foreign_flush_record_is_damaged_and_no_more(flow: Flow, record: bytes) -> None:
    damage(flow.client, victim(flow), b"f" + b"x" * 16, record)

    loaded = flow.load()

    assert {each.trace_id for each in loaded} >= {trace_id(0), trace_id(2)}
    assert loaded.damaged == 1


@pytest.mark.parametrize("field", [b"foo", b"", b"x" * 30])
def test_a_foreign_field_invents_no_outcome(flow: Flow, field: bytes) -> None:
    damage(flow.client, victim(flow), field, b"bar")
    flow.flush()
    flow.wait(181)
    flow.flush()
    flow.wait(181)

    assert {each.trace_id for each in flow.published} == {trace_id(n) for n in range(3)}
    assert +flow.outcomes == {}


@pytest.mark.parametrize(
    "entry",
    [
        b"garbage",
        b"",
        b"1:zz:12345678",
        b"x:" + b"0" * 32 + b":12345678",
        b"1:" + b"\xff" * 32 + b":12345678",
        b"1:" + b"0" * 32 + b":1234",
    ],
)
def test_a_foreign_queue_entry_does_not_stop_its_shard(flow: Flow, entry: bytes) -> None:
    flow.client.zadd(flow.buffer.keys.queue(0), {entry: 1})

    flow.flush()

    assert {each.trace_id for each in flow.published} == {trace_id(n) for n in range(3)}


def test_an_entry_of_a_segment_that_never_was_goes(flow: Flow) -> None:
    flow.client.zadd(flow.buffer.keys.queue(0), {b"7:" + b"0" * 32 + b":12345678": 1})

    flow.drain()

    assert len(flow.published) == 3
    assert leftovers(flow.client) == []


def test_a_segment_key_of_another_type_keeps_no_other_back(flow: Flow) -> None:
    segment = victim(flow)
    flow.client.set(segment, b"x", ex=60)

    expect_neighbours_only(flow)


@pytest.mark.parametrize("value", [b"", b"x", b"x" * 8, b"x" * 19, b"x" * 27, b"x" * 40])
def test_a_foreign_head_does_not_stop_a_flush(flow: Flow, value: bytes) -> None:
    """The index is where links and counts are; a segment's content does not depend on it."""
    flow.client.hset(keys(flow.client, "l")[1], victim(flow)[-8:], value)

    loaded = flow.load()

    assert {each.trace_id for each in loaded} == {trace_id(n) for n in range(3)}
    flow.cleanup(flow.publish(loaded))
    assert flow.buffer.depth(now_ms=flow.now_ms) == 0 or flow.drain() == []


def test_an_append_whose_queue_is_a_key_of_another_type_is_not_acknowledged(redis_client: Client) -> None:
    flow = Flow(redis_client, shards=1)
    redis_client.set(flow.buffer.keys.queue(0), b"x", ex=60)

    with pytest.raises(BufferUnavailable):
        flow.append(span("a"))


def test_an_append_onto_a_key_of_another_type_is_not_acknowledged(flow: Flow) -> None:
    flow.client.set(victim(flow), b"x", ex=60)

    with pytest.raises(BufferUnavailable):
        flow.append(span("b", "a", trace=trace_id(1)))


def test_a_queue_of_another_type_does_not_stop_the_other_shards(redis_client: Client) -> None:
    flow = Flow(redis_client, shards=2)
    flow.append(*(span("a", trace=trace_id(n)) for n in range(20)))
    flow.wait(10)
    redis_client.set(flow.buffer.keys.queue(0), b"x", ex=60)

    assert {claim.shard for claim in flow.claim()} == {1}
