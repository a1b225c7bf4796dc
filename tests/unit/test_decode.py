"""Bad input: each item ends as one span or as one count of the right reason, and its neighbours go in."""

import datetime
import json
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import permutations

import msgspec
import pytest
import zstandard
from sentry_kafka_schemas import iter_examples

from buffer.decode import REASONS, Decoded, decode
from buffer.model import Span

TRACE = "0123456789abcdef0123456789abcdef"
NEVER_COUNTED_HERE = {"wrong_arguments"}  # the task counts it, before it calls decode


def take(
    batch: object, *, max_span_bytes: int = 2**20, max_batch_bytes: int = 2**27, max_batch_spans: int = 200_000
) -> Decoded:
    return decode(
        batch, max_span_bytes=max_span_bytes, max_batch_bytes=max_batch_bytes, max_batch_spans=max_batch_spans
    )


def span_id(number: int) -> str:
    return f"{number:016x}"


def wire(number: int = 7, **fields: object) -> dict[str, object]:
    """A span as it is sent; fields that are Ellipsis are left out."""
    span: dict[str, object] = {"project_id": 1, "trace_id": TRACE, "span_id": span_id(number), "name": "n"} | fields
    return {key: value for key, value in span.items() if value is not ...}


FIRST, LAST = wire(1), wire(2, parent_span_id=span_id(1))


def as_objects(items: list[object]) -> object:
    return items


def as_array(items: list[object]) -> object:
    return b"[" + b", ".join(text_of(item) for item in items) + b"]"


def as_pretty_array(items: list[object]) -> object:
    return "[\n  " + ",\n  ".join(text_of(item).decode(errors="surrogatepass") for item in items) + "\n]\n"


def as_lines(items: list[object]) -> object:
    return bytearray(b"\r\n\n".join(text_of(item) for item in items) + b"\n")


def text_of(item: object) -> bytes:
    return item if isinstance(item, bytes) else json.dumps(item, ensure_ascii=False).encode(errors="surrogatepass")


FORMS = [as_objects, as_array, as_pretty_array, as_lines]
Form = Callable[[list[object]], object]


def nested(levels: int) -> object:
    value: object = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def nested_text(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


BAD_ITEMS: dict[str, tuple[object, str]] = {
    "number": (5, "not_an_object"),
    "null": (None, "not_an_object"),
    "string": ("span", "not_an_object"),
    "list": ([wire()], "not_an_object"),
    "no project": (wire(project_id=...), "missing_project_id"),
    "null project": (wire(project_id=None), "missing_project_id"),
    "project as text": (wire(project_id="1"), "bad_project_id"),
    "project as bool": (wire(project_id=True), "bad_project_id"),
    "project as float": (wire(project_id=1.0), "bad_project_id"),
    "negative project": (wire(project_id=-1), "bad_project_id"),
    "no trace": (wire(trace_id=...), "missing_trace_id"),
    "null trace": (wire(trace_id=None), "missing_trace_id"),
    "empty trace": (wire(trace_id=""), "missing_trace_id"),
    "short trace": (wire(trace_id=TRACE[:-1]), "bad_trace_id"),
    "long trace": (wire(trace_id=TRACE + "0"), "bad_trace_id"),
    "trace not hex": (wire(trace_id="g" * 32), "bad_trace_id"),
    "trace all zero": (wire(trace_id="0" * 32), "bad_trace_id"),
    "trace as number": (wire(trace_id=12), "bad_trace_id"),
    "brace in trace": (wire(trace_id=TRACE[:-1] + "}"), "bad_trace_id"),
    "colon in trace": (wire(trace_id=TRACE[:-1] + ":"), "bad_trace_id"),
    "NUL in trace": (wire(trace_id=TRACE[:-1] + "\0"), "bad_trace_id"),
    "line break after trace": (wire(trace_id=TRACE + "\n"), "bad_trace_id"),
    "dashes at will": (wire(trace_id="-" + TRACE), "bad_trace_id"),
    "all-zero UUID": (wire(trace_id="00000000-0000-0000-0000-000000000000"), "bad_trace_id"),
    "no span id": (wire(span_id=...), "missing_span_id"),
    "null span id": (wire(span_id=None), "missing_span_id"),
    "empty span id": (wire(span_id=""), "missing_span_id"),
    "short span id": (wire(span_id="abc"), "bad_span_id"),
    "long span id": (wire(span_id=TRACE), "bad_span_id"),
    "span id not hex": (wire(span_id="xyz" + span_id(7)[3:]), "bad_span_id"),
    "span id with underscore": (wire(span_id="0_00000000000001"), "bad_span_id"),
    "digits of another script": (wire(span_id="\u0661" * 16), "bad_span_id"),
    "span id all zero": (wire(span_id=span_id(0)), "bad_span_id"),
    "comma in span id": (wire(span_id=f"{span_id(7)},{span_id(7)}"), "bad_span_id"),
    "brace in span id": (wire(span_id=span_id(7)[1:] + "}"), "bad_span_id"),
    "colon in span id": (wire(span_id=span_id(7)[1:] + ":"), "bad_span_id"),
    "NUL in span id": (wire(span_id=span_id(7)[1:] + "\0"), "bad_span_id"),
    "short parent": (wire(parent_span_id="ab"), "bad_parent_span_id"),
    "parent as number": (wire(parent_span_id=5), "bad_parent_span_id"),
    "parent all zero": (wire(parent_span_id=span_id(0)), "bad_parent_span_id"),
    "NUL in parent": (wire(parent_span_id=span_id(1)[1:] + "\0"), "bad_parent_span_id"),
    "own parent": (wire(parent_span_id=span_id(7)), "parent_is_self"),
    "own parent in upper case": (wire(0xABC, parent_span_id=span_id(0xABC).upper()), "parent_is_self"),
    "is_segment as number": (wire(is_segment=1), "bad_is_segment"),
    "is_segment as text": (wire(is_segment="true"), "bad_is_segment"),
    "attributes as text": (wire(attributes="{}"), "bad_attributes"),
    "attributes as list": (wire(attributes=[]), "bad_attributes"),
    "short segment id": (wire(segment_id="ab"), "bad_segment_id"),
    "empty segment id": (wire(segment_id=""), "bad_segment_id"),
    "segment id all zero": (wire(segment_id=span_id(0)), "bad_segment_id"),
    "segment attribute not hex": (wire(attributes={"sentry.segment.id": {"value": "x" * 16}}), "bad_segment_id"),
    "segment attribute as number": (wire(attributes={"sentry.segment.id": {"value": 5}}), "bad_segment_id"),
    "segment attribute without value": (wire(attributes={"sentry.segment.id": span_id(5)}), "bad_segment_id"),
    "one of two segment ids bad": (
        wire(segment_id="ab", attributes={"sentry.segment.id": {"value": span_id(5)}}),
        "bad_segment_id",
    ),
    "NaN": (wire(x=float("nan")), "number_out_of_range"),
    "NaN inside": (wire(attributes={"x": {"value": [1, float("nan")]}}), "number_out_of_range"),
    "infinity": (wire(x=float("inf")), "number_out_of_range"),
    "minus infinity": (wire(x=[float("-inf")]), "number_out_of_range"),
    "2^70": (wire(x=2**70), "number_out_of_range"),
    "project 2^70": (wire(project_id=2**70), "number_out_of_range"),
    "2^64": (wire(x={"y": 2**64}), "number_out_of_range"),
    "below -2^63": (wire(x=-(2**63) - 1), "number_out_of_range"),
    "1,000 levels": (wire(x=nested(1000)), "too_deep"),
    "65 levels": (wire(x=nested(64)), "too_deep"),
    "lone surrogate": (wire(name="\ud800"), "not_utf8"),
    "lone surrogate as key": (wire(attributes={"\udfff": None}), "not_utf8"),
    "1 MiB and more": (wire(name="x" * 2**20), "span_too_large"),
}
"""Item, reason: as it would come in any form."""

BAD_TEXTS: dict[str, tuple[bytes, str]] = {
    "word": (b"span", "not_json"),
    "missing value": (b'{"a":}', "not_json"),
    "bracket not closed": (b'{"a":[1}', "not_json"),
    "bracket that closes nothing": (b'{"a":1]}', "not_json"),
    "brace that closes nothing": (b'{"a":1}}', "not_json"),
    "two objects": (b"{} {}", "not_json"),
    "single quotes": (b"{'a':1}", "not_json"),
    "leading zero": (b'{"a":01}', "not_json"),
    "raw control character": (b'{"a":"\x01"}', "not_json"),
    "unknown escape": (b'{"a":"\\q"}', "not_json"),
    "byte that is not UTF-8": (b'{"a":"\xff"}', "not_utf8"),
    "key that is not UTF-8": (b'{"\xc3":1}', "not_utf8"),
    "escaped lone surrogate": (json.dumps(wire(name="\ud800")).encode(), "not_utf8"),
    "number that overflows": (text_of(wire())[:-1] + b',"x":1e400}', "number_out_of_range"),
    "number that overflows, signed": (text_of(wire())[:-1] + b',"x":-1.5E+0999}', "number_out_of_range"),
    "400 digits with a point": (text_of(wire())[:-1] + b',"x":' + b"9" * 400 + b".0}", "number_out_of_range"),
    "5,000 digits": (text_of(wire())[:-1] + b',"x":' + b"9" * 5000 + b"}", "number_out_of_range"),
    "100,000 levels": (text_of(wire())[:-1] + b',"x":' + nested_text(100_000) + b"}", "too_deep"),
    "1,000 levels, not closed": (b"{" + b'"a":{' * 1000 + b"}" * 1001, "too_deep"),
    "large though empty": (b"{" + b" " * 2**20 + b"}", "span_too_large"),
}
"""Item text, reason: has no form as an object."""

BAD_OBJECTS: dict[str, tuple[object, str]] = {
    "bytes": (wire(name=b"n"), "not_json_value"),
    "bytes as id": (wire(span_id=b"0" * 16), "not_json_value"),
    "number as key": (wire(attributes={1: None}), "not_json_value"),
    "bytes as key": (wire() | {"x": {b"y": 1}}, "not_json_value"),
    "date": (wire(start=datetime.datetime(2026, 1, 1)), "not_json_value"),
    "set": (wire(x={1}), "not_json_value"),
    "any object": (wire(x=object()), "not_json_value"),
    "bytes as item": (b"{}", "not_an_object"),
}


def ids(spans: Iterable[Span]) -> list[str]:
    return [span.span_id for span in spans]


def assert_only_it_is_refused(decoded: Decoded, reason: str) -> None:
    assert decoded.invalid == Counter({reason: 1})
    assert ids(decoded.spans) == [span_id(1), span_id(2)]
    assert [json.loads(span.payload) for span in decoded.spans] == [FIRST, LAST]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", BAD_ITEMS)
def test_a_bad_item_is_counted_and_its_neighbours_go_in(name: str, form: Form) -> None:
    item, reason = BAD_ITEMS[name]
    if name == "1,000 levels" and form is not as_objects:
        item = text_of(wire())[:-1] + b',"x":' + nested_text(1000) + b"}"
    assert_only_it_is_refused(take(form([FIRST, item, LAST])), reason)


@pytest.mark.parametrize("form", [as_array, as_lines])
@pytest.mark.parametrize("name", BAD_TEXTS)
def test_a_bad_text_is_counted_and_its_neighbours_go_in(name: str, form: Form) -> None:
    item, reason = BAD_TEXTS[name]
    assert_only_it_is_refused(take(form([FIRST, item, LAST])), reason)


@pytest.mark.parametrize("name", BAD_OBJECTS)
def test_a_bad_object_is_counted_and_its_neighbours_go_in(name: str) -> None:
    item, reason = BAD_OBJECTS[name]
    assert_only_it_is_refused(take((FIRST, item, LAST)), reason)


NO_SPANS: dict[str, tuple[object, str]] = {
    "nothing": (None, "not_a_list"),
    "number": (5, "not_a_list"),
    "one object": (wire(), "not_a_list"),
    "set": ({1}, "not_a_list"),
    "number as text": (b"5", "not_a_list"),
    "string as text": ('"span"', "not_a_list"),
    "null as text": (b" null\n", "not_a_list"),
    "NaN as text": (b"NaN", "not_a_list"),
    "word": (b"spans", "not_json"),
    "NUL": (b"\x00", "not_json"),
    "not UTF-8": (b"\x80\x81", "not_utf8"),
    "lone surrogate": ("\ud800", "not_utf8"),
    "array cut at once": (b"[", "not_json"),
    "array cut in its first item": (b"[1e5", "not_json"),
    "end of an array": (b"]", "not_json"),
    "object cut at once": (b"{", "not_json"),
    "zstd frame cut short": (zstandard.compress(b"[]" * 1000)[:-1], "not_zstd"),
    "two zstd frames": (2 * zstandard.compress(b"[]"), "not_zstd"),
    "only the beginning of a zstd frame": (zstandard.FRAME_HEADER, "not_zstd"),
    "1,000 arrays": (b"[" * 1000 + b"]" * 1000, "too_deep"),
    "100,000 arrays, not closed": (b"[" * 100_000, "not_json"),
}


@pytest.mark.parametrize("name", NO_SPANS)
def test_a_batch_that_holds_no_spans_is_counted_once(name: str) -> None:
    batch, reason = NO_SPANS[name]
    assert take(batch) == Decoded([], Counter({reason: 1}))


def test_an_empty_batch_holds_nothing_and_is_no_fault() -> None:
    batches: list[object] = [[], (), b"", "", b"[]", " [ ] ", b"\n\n", bytearray(b"\xef\xbb\xbf[]")]
    for batch in batches:
        assert take(batch) == Decoded([], Counter())


def test_a_batch_may_be_any_kind_of_text() -> None:
    text = json.dumps([FIRST, LAST])
    for batch in (text, text.encode(), bytearray(text.encode()), memoryview(text.encode()), "\ufeff" + text):
        assert ids(take(batch).spans) == [span_id(1), span_id(2)]


def test_one_object_printed_over_several_lines_is_one_span() -> None:
    assert ids(take(json.dumps(FIRST, indent=2)).spans) == [span_id(1)]


def test_a_cut_array_keeps_the_whole_items_before_the_cut() -> None:
    text = json.dumps([FIRST, LAST, wire(3)]).encode()
    start_of_last = text.rindex(b'{"project_id"')
    for end in range(start_of_last - 1, len(text)):
        decoded = take(text[:end])
        whole_items = 3 if end == len(text) - 1 else 2
        assert len(decoded.spans) == min(whole_items, 2)
        assert decoded.invalid == Counter(not_json=1)


def test_text_after_the_array_is_counted_and_the_array_goes_in() -> None:
    decoded = take(json.dumps([FIRST, LAST]) + " [1, 2]")
    assert_only_it_is_refused(decoded, "not_json")
    assert take("[] [1, 2]") == Decoded([], Counter(not_json=1))


def test_a_bracket_in_a_string_is_no_bracket() -> None:
    odd = wire(3, name='}],[{"\\\\"')
    decoded = take(as_array([FIRST, odd, b"NaN", LAST]))
    assert ids(decoded.spans) == [span_id(1), span_id(3), span_id(2)]
    assert decoded.invalid == Counter(not_an_object=1)


def test_spans_beyond_the_number_are_counted_and_the_first_go_in() -> None:
    items: list[object] = [wire(n) for n in range(1, 11)]
    for form in FORMS:
        decoded = take(form(items), max_batch_spans=4)
        assert ids(decoded.spans) == [span_id(n) for n in range(1, 5)]
        assert decoded.invalid == Counter(batch_too_large=6)


def test_spans_beyond_the_bytes_are_counted_and_the_first_go_in() -> None:
    items: list[object] = [msgspec.json.encode(wire(n)) for n in range(1, 11)]
    room = len(text_of(items[0])) * 4
    for batch in ([wire(n) for n in range(1, 11)], as_array(items), as_lines(items)):
        decoded = take(batch, max_batch_bytes=room)
        assert ids(decoded.spans) == [span_id(n) for n in range(1, 5)]
        assert decoded.invalid == Counter(batch_too_large=6)


def test_a_broken_array_is_searched_no_further_than_the_bytes() -> None:
    first, last = text_of(wire(1)), text_of(wire(2))
    decoded = take(b"[" + first + b"," + last + b",NaN]", max_batch_bytes=len(first) + 10)
    assert ids(decoded.spans) == [span_id(1)]
    assert decoded.invalid == Counter(batch_too_large=1)


def test_a_span_may_be_as_large_as_the_limit() -> None:
    size = len(msgspec.json.encode(wire()))
    assert not take([wire()], max_span_bytes=size).invalid
    assert take([wire()], max_span_bytes=size - 1).invalid == Counter(span_too_large=1)


def test_a_hundred_thousand_spans_in_one_message_go_in() -> None:
    text = (
        b"["
        + b",".join(b'{"project_id":1,"trace_id":"%032x","span_id":"%016x"}' % (n, n) for n in range(1, 100_001))
        + b"]"
    )
    assert len(take(text).spans) == 100_000
    assert len(take(text, max_batch_spans=1000).spans) == 1000


@pytest.mark.parametrize("form", FORMS)
def test_ids_are_normalised_in_the_span_and_in_its_payload(form: Form) -> None:
    upper = wire(
        0xABC,
        trace_id="01234567-89AB-CDEF-0123-456789ABCDEF",
        span_id=span_id(0xABC).upper(),
        parent_span_id=span_id(0xDEF).upper(),
        attributes={"sentry.segment.id": {"value": span_id(0xAAA).upper(), "type": "string"}, "x": {"value": "ABC"}},
        more=[1, 2.5, 2**64 - 1, -(2**63), None, True, "é\u2028"],
    )
    [span], invalid = take(form([upper]))
    assert not invalid
    assert (span.trace_id, span.span_id, span.parent_span_id) == (TRACE, span_id(0xABC), span_id(0xDEF))
    assert span.segment_id == span_id(0xAAA)
    assert json.loads(span.payload) == upper | {
        "trace_id": TRACE,
        "span_id": span_id(0xABC),
        "parent_span_id": span_id(0xDEF),
        "attributes": {"sentry.segment.id": {"value": span_id(0xAAA), "type": "string"}, "x": {"value": "ABC"}},
    }


@pytest.mark.parametrize("form", FORMS)
def test_what_is_absent_null_or_empty_is_none(form: Form) -> None:
    items: list[object] = [
        wire(1),
        wire(2, parent_span_id=None, is_segment=None, segment_id=None, attributes=None),
        wire(3, parent_span_id="", attributes={"sentry.segment.id": None}),
        wire(4, attributes={"sentry.segment.id": {"value": None, "type": "string"}, "foo": None}),
    ]
    decoded = take(form(items))
    assert not decoded.invalid
    assert [(s.parent_span_id, s.is_segment, s.segment_id) for s in decoded.spans] == [(None, False, None)] * 4


@pytest.mark.parametrize("form", FORMS)
def test_what_is_given_is_taken(form: Form) -> None:
    items: list[object] = [
        wire(1, project_id=2**64 - 1, is_segment=True),
        wire(2, segment_id=span_id(8)),
        wire(3, segment_id=span_id(8), attributes={"sentry.segment.id": {"value": span_id(9)}}),
        wire(4, x=2**64 - 1, y=-(2**63), z=1.5e300, deep=nested(63)),
    ]
    decoded = take(form(items))
    assert not decoded.invalid
    assert [(s.is_segment, s.segment_id) for s in decoded.spans] == [
        (True, None),
        (False, span_id(8)),
        (False, span_id(9)),
        (False, None),
    ]
    assert [json.loads(s.payload) for s in decoded.spans] == items


def test_the_text_of_a_normal_span_is_kept_as_it_came() -> None:
    text = text_of(wire())[:-1] + b', "x": 0.100000000000000001e0, "\\u0061": [ ]}'
    assert take(b"[" + text + b"]").spans[0].payload == text


def test_a_key_that_comes_twice_counts_as_its_last() -> None:
    text = text_of(wire(1))[:-1]
    decoded = take(text + b',"span_id":"' + span_id(2).encode() + b'"}\n' + text + b',"x":NaN,"x":1}')
    assert ids(decoded.spans) == [span_id(2), span_id(1)]
    assert [json.loads(s.payload)["span_id"] for s in decoded.spans] == [span_id(2), span_id(1)]
    assert msgspec.json.decode(decoded.spans[1].payload)["x"] == 1


def test_the_same_span_twice_is_not_the_decoders_concern() -> None:
    assert len(take([wire(1), wire(1), wire(1, name="other")]).spans) == 3


@pytest.mark.parametrize("form", FORMS)
def test_parents_in_a_circle_are_refused_and_what_hangs_off_them_stays(form: Form) -> None:
    circle = [
        wire(11, parent_span_id=span_id(13)),
        wire(12, parent_span_id=span_id(11)),
        wire(13, parent_span_id=span_id(12)),
    ]
    hanging = [wire(14, parent_span_id=span_id(11)), wire(15, parent_span_id=span_id(14))]
    for order in permutations([*circle, *hanging]):
        decoded = take(form([FIRST, *order, LAST]))
        assert decoded.invalid == Counter(parent_cycle=3)
        assert sorted(ids(decoded.spans)) == sorted(map(span_id, (1, 2, 14, 15)))


def test_a_circle_is_seen_when_one_of_its_spans_comes_twice() -> None:
    twice = [wire(3, parent_span_id=span_id(4)), wire(4, parent_span_id=span_id(3)), wire(4, parent_span_id=span_id(1))]
    for order in permutations([FIRST, *twice, LAST]):
        decoded = take(list(order))
        assert decoded.invalid == Counter(parent_cycle=2)
        assert sorted(ids(decoded.spans)) == [span_id(1), span_id(2), span_id(4)]


def test_spans_of_other_traces_and_projects_make_no_circle() -> None:
    for other in ({"trace_id": "f" * 32}, {"project_id": 2}):
        assert not take([wire(3, parent_span_id=span_id(4)), wire(4, parent_span_id=span_id(3), **other)]).invalid


def test_a_chain_of_ten_thousand_is_no_circle() -> None:
    chain: list[object] = [wire(n + 1, parent_span_id=span_id(n)) for n in range(1, 10_001)]
    for order in (chain, chain[::-1], chain + chain[:1]):
        assert len(take(order).spans) == len(order)
    assert take([*chain, wire(1, parent_span_id=span_id(10_001))]).invalid == Counter(parent_cycle=10_001)


@pytest.mark.parametrize("form", [as_array, as_lines])
def test_a_zstd_frame_is_what_it_holds(form: Form) -> None:
    text = form([FIRST, wire(3, span_id="none"), LAST])
    assert isinstance(text, bytes | bytearray)
    for frame in (zstandard.compress(text), zstandard.ZstdCompressor(write_content_size=False).compress(text)):
        assert take(frame) == take(text)
    assert len(take(text).spans) == 2


def test_a_frame_that_holds_more_than_a_batch_may_is_refused_whatever_its_header_says() -> None:
    bomb = b" " * 2**20
    assert take(zstandard.compress(bomb), max_batch_bytes=2**16) == Decoded([], Counter(batch_too_large=1))
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(bomb)
    assert take(silent, max_batch_bytes=2**16) == Decoded([], Counter(not_zstd=1))


def test_every_reason_is_in_the_table_and_every_entry_is_reached() -> None:
    tables = (BAD_ITEMS, BAD_TEXTS, BAD_OBJECTS, NO_SPANS)
    reached = {reason for table in tables for _, reason in table.values()}
    reached |= {"batch_too_large", "parent_cycle"} | NEVER_COUNTED_HERE
    assert reached == set(REASONS)
    assert all(sentence.endswith(".") for sentence in REASONS.values())


def test_the_examples_of_the_ingest_spans_schema_go_in() -> None:
    examples = [example.load() for example in iter_examples("ingest-spans")]
    assert examples
    for form in FORMS:
        decoded = take(form(examples))
        assert not decoded.invalid
        assert [json.loads(span.payload) for span in decoded.spans] == examples
