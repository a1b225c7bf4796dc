"""Dictionaries: trained on the buffer, shared by everybody, never missed by a part."""

from __future__ import annotations

import logging

import msgspec
import pytest

from buffer import Span
from buffer.codec import HEADER
from buffer.dictionaries import LOOK_EVERY_MS, MAX_HELD, RENEW_EVERY_MS
from buffer.dictionary import Dictionary, identity
from buffer.errors import BufferUnavailable
from buffer.scripts import Client
from buffer.training import MIN_SPANS
from tests.builders import identities, span, trace_id
from tests.flow import Flow, damage, fields, keys, leftovers, without_ttl

NEVER_DUE = {"timeout": 10_000, "root_timeout": 10_000, "max_segment_age": 20_000}


def a_flow(store: Client, **settings: object) -> Flow:
    return Flow(store, train_interval=600, **settings)


def alike(count: int, *, style: str = "shop", start: int = 0) -> list[Span]:
    """Spans of as many traces, that have much in common."""
    return [
        msgspec.structs.replace(
            one,
            payload=msgspec.json.encode(
                {
                    **msgspec.json.decode(one.payload),
                    "name": f"GET /{style}/item",
                    "attributes": {
                        f"{style}.{word}": {"type": "string", "value": f"{style} of {word} {n % 7}"}
                        for word in ("server", "route", "method", "namespace", "statement", "thread")
                    },
                }
            ),
        )
        for n in range(start, start + count)
        for one in [span("a", trace=trace_id(n))]
    ]


def trained(store: Client, *, style: str = "shop", start: int = 0) -> Flow:
    """A buffer with spans that are not due, and a dictionary learnt from them."""
    flow = a_flow(store, **NEVER_DUE)
    flow.append(*alike(MIN_SPANS, style=style, start=start))
    training = flow.buffer.train(now_ms=flow.now_ms)
    assert training.adopted, str(training)
    return flow


def used(store: Client) -> set[int]:
    """The dictionary ids of all parts."""
    parts = [value for key in keys(store, "s") for field, value in fields(store, key).items() if len(field) == 16]
    return {HEADER.unpack_from(part)[1] for part in parts}


def copies(flow: Flow) -> dict[bytes, bytes | None]:
    dictionary_id = flow.buffer.dictionaries.at(flow.now_ms).in_use().id
    return {key: flow.client.get(key) for key in flow.buffer.keys.dictionaries(dictionary_id)}  # type: ignore[misc]


def pass_a_minute(flow: Flow) -> None:
    flow.wait((RENEW_EVERY_MS + LOOK_EVERY_MS) / 1000)


def test_what_one_process_learns_all_pack_with(store: Client) -> None:
    other = a_flow(store)
    other.append(span("a", trace=trace_id(10**6)))
    assert used(store) == {0}
    one = trained(store)

    other.append(*alike(10, start=5000))
    assert used(store) == {0}, "looked for again after ten seconds"
    other.wait(LOOK_EVERY_MS / 1000)
    other.append(*alike(10, start=6000))
    one.append(*alike(10, start=7000))

    assert used(store) == {0, one.buffer.codec.dictionary.id}
    assert without_ttl(store) == []


def test_everything_comes_out_whatever_it_was_packed_with(store: Client) -> None:
    """No dictionary, one, another: in one segment."""
    flow = trained(store)
    first = flow.buffer.dictionaries.at(flow.now_ms).in_use()
    flow.append(*alike(MIN_SPANS, style="bank", start=10**5))
    again = [msgspec.structs.replace(s, span_id="00000000000000ff", parent_span_id=s.span_id) for s in alike(20)]
    flow.append(*again)
    second = Dictionary(b"another dictionary, with words such as bank of server, bank.route and string" * 20)
    flow.buffer.dictionaries.adopt(second)
    more = [msgspec.structs.replace(s, span_id="00000000000000fe", parent_span_id=s.span_id) for s in alike(20)]
    flow.append(*more)
    assert used(store) == {0, first.id, second.id}
    reader = a_flow(store, **NEVER_DUE)
    reader.wait(10_001)

    reader.drain()

    sent = [*alike(MIN_SPANS), *alike(MIN_SPANS, style="bank", start=10**5), *again, *more]
    assert identities(reader.spans) == identities(sent)
    assert +reader.outcomes == {}
    assert leftovers(store) == []


def test_a_part_is_much_smaller(redis_client: Client) -> None:
    flow = trained(redis_client)
    training = flow.buffer.train(now_ms=flow.now_ms)

    assert 0 < training.bytes_before < 100, "the dictionary is in use, so this is what it gives"


def test_copies_that_were_deleted_come_back(store: Client) -> None:
    flow = trained(store)
    before = copies(flow)
    names = flow.buffer.keys.dictionary_names()
    for gone in [*before, *names]:
        store.delete(gone)
    flow.append(*alike(1, start=5000))  # still sure of the minute before
    pass_a_minute(flow)
    for gone in names[1:]:
        store.set(gone, b"%08x" % flow.buffer.codec.dictionary.id, ex=60)

    flow.append(*alike(1, start=6000))

    assert copies(flow) == before
    assert len({store.get(name) for name in names}) == 1
    assert without_ttl(store) == []


def test_one_copy_is_enough(store: Client) -> None:
    flow = trained(store)
    *gone, _ = copies(flow)
    for key in [*gone, *flow.buffer.keys.dictionary_names()[:2]]:
        store.delete(key)

    other = a_flow(store)
    other.append(*alike(1, start=5000))

    assert other.buffer.codec.dictionary.id == flow.buffer.dictionaries.in_use().id
    assert None not in copies(other).values()


def test_without_its_dictionary_a_part_stays_and_goes_out_when_it_is_back(
    store: Client, caplog: pytest.LogCaptureFixture
) -> None:
    flow = trained(store, start=10**5)
    kept = copies(flow)
    writer = a_flow(store)
    sent = alike(3)
    writer.append(*sent, span("b", trace=trace_id(50)))
    for key in kept:
        store.delete(key)
    reader = a_flow(store)
    plain = span("c", trace=trace_id(51))
    reader.append(plain)  # the one in use cannot be had: packed without
    reader.wait(20)

    loaded = reader.load()

    assert identities(s for segment in loaded for s in segment.spans) == identities([plain])
    assert loaded.damaged == 4
    reader.cleanup(reader.publish(loaded))
    assert f"Dictionary {writer.buffer.codec.dictionary.id:08x} is missing" in caplog.text
    assert "span-buf:z:{a}:" in caplog.text
    key, text = kept.popitem()
    store.set(key, text or b"", ex=1000)
    reader.wait(181)
    reader.flush()
    assert identities(reader.spans) == identities([*sent, span("b", trace=trace_id(50)), plain])
    assert +reader.outcomes == {}


def test_a_process_that_has_it_puts_it_back_for_the_others(store: Client) -> None:
    flow = trained(store)
    for key in copies(flow):
        store.delete(key)
    pass_a_minute(flow)

    flow.append(*alike(1, start=5000))

    reader = a_flow(store, **NEVER_DUE)
    reader.wait(10_001)
    reader.drain()
    assert len(reader.spans) == MIN_SPANS + 1


def test_after_an_error_redis_is_asked_again_what_it_has(redis_client: Client) -> None:
    """It may be another Redis now, which never heard of the dictionary."""
    flow = trained(redis_client)
    flow.append(*alike(1, start=5000))
    whole = copies(flow)
    queues = [flow.buffer.keys.queue(shard) for shard in range(flow.settings.shards)]
    redis_client.delete(*queues, *whole)
    for queue in queues:
        redis_client.set(queue, b"x", ex=60)
    with pytest.raises(BufferUnavailable):
        flow.append(*alike(1, start=6000))
    redis_client.delete(*queues)

    flow.append(*alike(1, start=6000))

    assert {key: redis_client.get(key) for key in whole} == whole


@pytest.mark.parametrize("garbage", [b"", b"x", b"\x37\xa4\x30\xec" + b"x" * 100])
def test_garbage_is_not_taken_for_a_dictionary_and_is_mended(store: Client, garbage: bytes) -> None:
    flow = trained(store)
    whole = copies(flow)
    for key in list(whole)[:2]:
        store.set(key, garbage, ex=60)

    reader = a_flow(store)
    reader.append(*alike(1, start=5000))

    assert reader.buffer.codec.dictionary.id == flow.buffer.dictionaries.in_use().id
    assert copies(reader) == whole


@pytest.mark.parametrize("garbage", [b"\x37\xa4\x30\xec" + b"x" * 100, b"x"])
def test_garbage_under_its_own_name_stops_nobody(redis_client: Client, garbage: bytes) -> None:
    """What looks like zstd's own format but is none; and what is one of no use."""
    flow = a_flow(redis_client)
    redis_client.set(flow.buffer.keys.dictionary_names()[0], b"%08x" % identity(garbage), ex=60)
    redis_client.set(flow.buffer.keys.dictionaries(identity(garbage))[0], garbage, ex=60)
    sent = alike(3)

    flow.append(*sent)

    flow.drain()
    assert identities(flow.spans) == identities(sent)


@pytest.mark.parametrize("name", [b"", b"zzzzzzzz", b"00000000", b"deadbeef", b"f" * 20, b"\xff"])
def test_a_garbled_name_stops_nobody(redis_client: Client, name: bytes) -> None:
    flow = a_flow(redis_client)
    for key in flow.buffer.keys.dictionary_names():
        redis_client.set(key, name, ex=60)

    flow.append(span("a"))

    assert used(redis_client) == {0}


def test_keys_of_another_type_stop_nobody(redis_client: Client) -> None:
    flow = trained(redis_client)
    for key in [*copies(flow), *flow.buffer.keys.dictionary_names()]:
        redis_client.delete(key)
        redis_client.hset(key, "a", "b")
        redis_client.pexpire(key, 60_000)

    flow.append(span("a", trace=trace_id(9999)))
    other = a_flow(redis_client)
    other.append(span("b", trace=trace_id(9998)))

    assert other.buffer.codec.dictionary.id == 0


def test_ttls_are_renewed_by_who_packs_and_by_who_unpacks(store: Client) -> None:
    flow = trained(store)
    flow.append(*alike(1, start=5000))
    dictionary = copies(flow)
    names = flow.buffer.keys.dictionary_names()
    whole_ms = flow.settings.queue_ttl_ms

    for key in [*dictionary, *names]:
        store.pexpire(key, 100_000)
    pass_a_minute(flow)
    flow.append(*alike(1, start=6000))
    assert all(whole_ms - 60_000 < store.pttl(key) <= whole_ms for key in [*dictionary, *names])

    for key in dictionary:
        store.pexpire(key, 100_000)
    reader = Flow(store, **NEVER_DUE)
    reader.wait(10_001)
    reader.load()
    assert all(whole_ms - 60_000 < store.pttl(key) <= whole_ms for key in dictionary)


def test_a_dictionary_outlives_what_is_packed_with_it() -> None:
    """A part expires a segment_ttl after it was touched; its dictionary was renewed a minute before that, or later."""
    from buffer import Settings

    shortest = Settings(segment_ttl=781)
    assert shortest.queue_ttl_ms > 2 * shortest.segment_ttl_ms + RENEW_EVERY_MS


def test_memory_of_a_process_is_bounded(redis_client: Client) -> None:
    flow = a_flow(redis_client)
    ids = []
    for n in range(2 * MAX_HELD):
        dictionary = Dictionary(b"dictionary number %d, and some words" % n)
        flow.buffer.dictionaries.adopt(dictionary)
        flow.append(*alike(1, start=n))
        ids.append(dictionary.id)

    assert used(redis_client) == set(ids)
    assert len(flow.buffer.dictionaries._held) == MAX_HELD
    flow.drain()
    assert len(flow.spans) == 2 * MAX_HELD


def test_off_is_off_and_what_was_packed_before_is_read(store: Client) -> None:
    trained(store).append(*alike(3, start=5000))
    off = Flow(store, train_interval=0, **NEVER_DUE)
    before = used(store)
    assert before != {0}

    off.append(*alike(3, start=6000))

    assert off.buffer.codec.dictionary.id == 0
    off.wait(10_001)
    off.drain()
    assert len(off.spans) == MIN_SPANS + 6


def test_too_few_spans_teach_nothing(redis_client: Client) -> None:
    flow = a_flow(redis_client)
    flow.append(*alike(MIN_SPANS - 1))

    training = flow.buffer.train(now_ms=flow.now_ms)

    assert (training.adopted, training.spans, training.dictionary) == (False, MIN_SPANS - 1, "")
    assert str(training) == "Nothing was trained: 999 spans were found, 1,000 are needed."
    assert keys(redis_client, "z") == []


def test_an_empty_buffer_teaches_nothing(redis_client: Client) -> None:
    assert not a_flow(redis_client).buffer.train().adopted


def test_spans_that_have_nothing_in_common_teach_nothing(redis_client: Client) -> None:
    flow = a_flow(redis_client)
    flow.append(*(Span(1, trace_id(n), f"{n:016x}", payload=b"{}") for n in range(MIN_SPANS)))

    training = flow.buffer.train(now_ms=flow.now_ms)

    assert not training.adopted, str(training)
    assert keys(redis_client, "z") == []


def test_a_gain_that_is_small_changes_nothing(store: Client) -> None:
    flow = trained(store)
    before = copies(flow)

    training = flow.buffer.train(now_ms=flow.now_ms)

    assert training.refusal == "it saves less than 20%"
    assert training.dictionary in str(training)
    assert copies(flow) == before


def test_other_traffic_is_learnt_anew(redis_client: Client) -> None:
    flow = trained(redis_client)
    first = flow.buffer.dictionaries.in_use().id
    flow.wait(10_001)
    flow.drain()
    flow.append(*alike(MIN_SPANS, style="weather"))

    training = flow.buffer.train(now_ms=flow.now_ms)

    assert training.adopted
    assert flow.buffer.dictionaries.at(flow.now_ms).in_use().id not in {0, first}


def test_training_leaves_the_buffer_as_it_was(redis_client: Client) -> None:
    flow = a_flow(redis_client, **NEVER_DUE)
    flow.append(*alike(MIN_SPANS))
    damage(redis_client, keys(redis_client, "s")[0], b"0" * 16, b"not a part")
    before = {key: fields(redis_client, key) for key in keys(redis_client, "s")}
    seen: list[int] = []

    flow.buffer.train(now_ms=flow.now_ms, progress=seen.append)

    assert {key: fields(redis_client, key) for key in keys(redis_client, "s")} == before
    assert seen == sorted(seen)
    assert seen[-1] == MIN_SPANS


def test_a_full_redis_packs_with_what_it_has(redis_client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Renewing needs no memory, so the parts do not become larger when there is least room."""
    caplog.set_level(logging.ERROR)
    flow = trained(redis_client)
    flow.append(*alike(1, start=5000))
    pass_a_minute(flow)
    used_bytes = redis_client.info("memory")["used_memory"]
    redis_client.config_set("maxmemory", used_bytes // 2)
    try:
        assert flow.buffer.dictionaries.at(flow.now_ms).in_use().id != 0
    finally:
        redis_client.config_set("maxmemory", 0)
