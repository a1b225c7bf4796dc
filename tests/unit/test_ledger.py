"""The ledger's arithmetic: what counts as published, repeated, changed and lost."""

from __future__ import annotations

from demo.ledger import Ledger, SegmentMessage, SpanName
from demo.otlp import SpanObject

TRACE = "0" * 31 + "1"


def span(span_id: str, **fields: object) -> SpanObject:
    return {"project_id": 1, "trace_id": TRACE, "span_id": span_id, "start_timestamp": 1.5} | fields


def message(*spans: SpanObject, flush_id: str = "f", segment_id: str = "a") -> SegmentMessage:
    return SegmentMessage(flush_id, 1, TRACE, segment_id, "root_timeout", list(spans))


def annotated(bare: SpanObject) -> SpanObject:
    attributes = bare.get("attributes") or {}
    assert isinstance(attributes, dict)
    return bare | {
        "is_segment": False,
        "attributes": attributes | {"sentry.segment.id": {"type": "string", "value": "a"}},
    }


def test_what_came_out_annotated_and_in_another_order_of_keys_is_what_went_in() -> None:
    ledger = Ledger()
    plain, full = span("a"), span("b", attributes={"k": {"type": "integer", "value": 1}, "j": None})
    ledger.send([plain, full])
    ledger.publish(message(annotated(plain), dict(reversed(annotated(full).items()))))

    balance = ledger.balance({})

    assert (balance.sent, balance.batches, balance.published, balance.messages, balance.segments) == (2, 1, 2, 1, 1)
    assert (balance.lost, balance.unknown, balance.repeats) == (0, 0, 0)
    assert balance.sound


def test_a_span_that_did_not_come_out_is_lost_and_named() -> None:
    ledger = Ledger()
    ledger.send([span("a"), span("b")])
    ledger.publish(message(span("a")))

    assert ledger.balance({}).lost == 1
    assert ledger.missing() == [SpanName(1, TRACE, "b")]
    assert not ledger.balance({}).sound


def test_a_span_that_came_out_changed_is_lost_and_another_was_never_sent() -> None:
    ledger = Ledger()
    ledger.send([span("a")])
    ledger.publish(message(span("a", start_timestamp=1.25)))

    balance = ledger.balance({})

    assert (balance.published, balance.lost, balance.unknown) == (0, 1, 1)
    assert not balance.sound


def test_the_same_id_in_another_project_is_another_span() -> None:
    ledger = Ledger()
    ledger.send([span("a"), span("a", project_id=2)])
    ledger.publish(message(span("a")))

    assert ledger.balance({}).lost == 1


def test_an_outcome_accounts_for_a_missing_span_but_a_duplicate_does_not() -> None:
    ledger = Ledger()
    ledger.send([span("a"), span("b")])
    ledger.publish(message(span("a")))

    assert ledger.balance({"invalid.parent_is_self": 1}).lost == 0
    assert ledger.balance({"duplicate.same_content": 1}).lost == 1


def test_a_span_sent_twice_is_wanted_once() -> None:
    ledger = Ledger()
    ledger.send([span("a")])
    ledger.send([span("a")])
    ledger.publish(message(span("a")))

    balance = ledger.balance({"duplicate.same_content": 1})

    assert (balance.sent, balance.published, balance.lost, balance.repeats) == (2, 1, 0, 0)


def test_repeats_under_a_flush_id_that_was_seen_are_told_from_others() -> None:
    ledger = Ledger()
    ledger.send([span("a"), span("b")])
    ledger.publish(message(span("a"), span("b"), flush_id="f"))
    ledger.publish(message(span("a"), span("b"), flush_id="f"))
    assert ledger.balance({}).sound

    ledger.publish(message(span("a"), flush_id="g"))

    balance = ledger.balance({})
    assert (balance.published, balance.repeats, balance.repeats_same_flush, balance.messages) == (2, 3, 2, 3)
    assert balance.lost == 0
    assert not balance.sound


def test_the_parts_of_a_split_segment_are_not_repeats() -> None:
    ledger = Ledger()
    ledger.send([span("a"), span("b")])
    ledger.publish(message(span("a"), flush_id="f"))
    ledger.publish(message(span("b"), flush_id="f"))

    balance = ledger.balance({})

    assert (balance.repeats, balance.segments, balance.messages) == (0, 1, 2)
