"""What is spliced into a payload, against what decoding and encoding gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from buffer.annotate import annotated
from buffer.errors import DamagedPart
from demo.recordings import NAMES, batches

SEGMENT_ID = "00000000000000ab"
PLAIN = ["is_segment", "attributes", "sentry.segment.id", "value", "a", 'x"is_segment', "é\\u", "attributes\\"]
WRITTEN = st.sampled_from([*map(json.dumps, PLAIN), r'"\u0061ttributes"', r'"is_\u0073egment"', '"é"'])
SPACE = st.sampled_from(["", "", "", " ", "\n\t"])
TEXTS = ['""', '"é😀"', '"is_segment"', r'"\"attributes"']
SCALARS = st.sampled_from(["null", "true", "false", "0", "-0.0", "1.5e3", *TEXTS])


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    """Keys may come twice: the last one counts."""
    items = draw(st.lists(st.tuples(SPACE, WRITTEN, SPACE, SPACE, values, SPACE), max_size=5))
    return f"{{{','.join(f'{a}{key}{b}:{c}{value}{d}' for a, key, b, c, value, d in items) or draw(SPACE)}}}"


VALUES = st.recursive(SCALARS, lambda v: objects(v) | st.lists(v, max_size=3).map(lambda vs: f"[{','.join(vs)}]"))


def expected(payload: str, is_segment: bool) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(payload)
    fields["is_segment"] = is_segment
    if not isinstance(fields.get("attributes"), dict):
        fields["attributes"] = {}
    if not fields["attributes"].get("sentry.segment.id"):
        fields["attributes"]["sentry.segment.id"] = {"type": "string", "value": SEGMENT_ID}
    return fields


@given(SPACE, objects(VALUES), SPACE, st.booleans())
@example("", '{"attributes":{"a":1},"b":{"attributes":{"a":1}}}', "", True)
@example("", '{"attributes":{"sentry.segment.id":null},"is_segment":null}', "", True)
@example("", '{"attributes":{"a":1},"attributes":{}}', "", True)
@example("", '{"attributes":{}}', "", True)
@example("", r'{"x":"\"attributes","\u0061ttributes":{"a":1}}', "", True)
def test_the_value_is_that_of_decoding_and_encoding(before: str, text: str, after: str, is_segment: bool) -> None:
    payload = before + text + after
    message = annotated(payload.encode(), is_segment, SEGMENT_ID)

    assert json.loads(message) == expected(payload, is_segment)
    assert message == annotated(payload.encode(), is_segment, SEGMENT_ID)
    assert list(keys_of(message)) == list(dict.fromkeys(keys_of(message))) or keys_come_twice(payload)


def keys_of(text: bytes | str) -> Iterator[str]:
    return (key for key, _ in json.loads(text, object_pairs_hook=tuple))


def keys_come_twice(text: str) -> bool:
    keys = list(keys_of(text))
    return len(keys) > len(set(keys))


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_span(name: str) -> None:
    for batch in batches(name):
        for span in batch.spans:
            payload = msgspec.json.encode(span)
            for is_segment in (True, False):
                spliced = msgspec.json.decode(annotated(payload, is_segment, SEGMENT_ID))
                assert spliced == expected(payload.decode(), is_segment)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"{}"',
        b'{"attributes":{"a":1}} {}',
        b'{"attributes":{"a":1},"b":tru}',
        b'{"attributes":{"a":1},"b":"\xff"}',
        b'{"attributes":{"a":1},"\xff":1}',
        b'{"attributes":{"a":1},"b":"\\ud800"}',
        b'{"attributes":{"a":1},"b":01}',
        b'{"attributes":{"a":1},"b":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_not_a_json_object_is_refused(payload: bytes) -> None:
    with pytest.raises(DamagedPart):
        annotated(payload, True, SEGMENT_ID)


def test_what_stands_right_already_is_left_as_it_came() -> None:
    payload = b'{ "is_segment" : true, "attributes": {"sentry.segment.id": {"value": "x"}}, "n": 1.50 }'

    assert annotated(payload, True, SEGMENT_ID) == payload
