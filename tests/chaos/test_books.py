"""What chaos sends, plans and books: it would notice a loss, a stray repeat, and a repeat that reads differently."""

import json
from collections import Counter
from itertools import chain, islice

from chaos.account import Account
from chaos.plan import AtRandom, AtStep, Plan, Victim
from chaos.warrants import Step, Whom
from chaos.workload import RECORDINGS, renamed, workload
from demo.ledger import identity
from demo.otlp import SpanObject
from demo.recordings import batches


def span(number: int) -> SpanObject:
    return {"project_id": 1, "trace_id": "a" * 32, "span_id": f"{number:016x}", "name": f"span {number}"}


def message(flush_id: str, *spans: SpanObject, reason: str = "timeout") -> bytes:
    head = {"flush_id": flush_id, "project_id": 1, "trace_id": "a" * 32, "segment_id": "b" * 16}
    return json.dumps({**head, "flush_reason": reason, "spans": [{**s, "is_segment": False} for s in spans]}).encode()


def account(*spans: SpanObject) -> Account:
    account = Account()
    account.ledger.send(spans)
    return account


def test_a_true_repeat_is_no_fault() -> None:
    books = account(span(1), span(2))
    for _ in range(2):
        books.publish(message("f", span(1), span(2)))

    balance = books.ledger.balance({})
    assert balance.sound
    assert (balance.repeats, books.changed) == (2, 0)


def test_a_span_that_does_not_come_out_is_lost() -> None:
    books = account(span(1), span(2))
    books.publish(message("f", span(1)))

    assert books.ledger.balance({}).lost == 1
    assert [name.span_id for name in books.ledger.missing()] == [span(2)["span_id"]]


def test_a_repeat_under_another_flush_id_is_a_fault() -> None:
    books = account(span(1))
    books.publish(message("f", span(1)))
    books.publish(message("g", span(1)))

    assert not books.ledger.balance({}).sound


def test_a_repeat_under_its_flush_id_in_another_message_is_a_fault() -> None:
    books = account(span(1), span(2))
    books.publish(message("f", span(1)))
    books.publish(message("f", span(1), span(2)))

    assert books.ledger.balance({}).sound
    assert books.changed == 1


def test_the_first_round_is_the_recordings_whole() -> None:
    recorded = [s for name in RECORDINGS for batch in batches(name) for s in batch.spans]
    sent = chain.from_iterable(workload(len(recorded)))

    assert Counter(map(identity, sent)) == Counter(map(identity, recorded))


def test_the_next_round_is_the_same_trees_under_new_ids() -> None:
    recorded = [s for name in RECORDINGS for batch in islice(batches(name), 40) for s in batch.spans]
    again = [renamed(s, 1) for s in recorded]

    new = {str(old["span_id"]): str(now["span_id"]) for old, now in zip(recorded, again, strict=True)}
    traces = {str(old["trace_id"]): str(now["trace_id"]) for old, now in zip(recorded, again, strict=True)}
    assert not set(new) & set(new.values())
    assert not set(traces) & set(traces.values())
    for old, now in zip(recorded, again, strict=True):
        assert len(str(now["span_id"])) == 16
        assert len(str(now["trace_id"])) == 32
        assert now["trace_id"] == traces[str(old["trace_id"])]
        if old.get("parent_span_id") in new:
            assert now["parent_span_id"] == new[str(old["parent_span_id"])]
        assert set(now) == set(old)
        assert now["name"] == old["name"]
    assert [renamed(s, 2)["span_id"] for s in recorded] != [s["span_id"] for s in again]


def test_every_step_is_killed_in_a_child_and_in_a_worker() -> None:
    plan = Plan(spans=1, kills=300, seed=1)
    kills = plan.order()

    assert len(kills) == 300
    steps = Counter((kill.step, kill.whom) for kill in kills if isinstance(kill, AtStep))
    assert set(steps) == {(step, whom) for step in Step for whom in Whom}
    assert min(steps.values()) >= 7
    assert {kill.victim for kill in kills if isinstance(kill, AtRandom)} == set(Victim)


def test_the_seed_decides() -> None:
    assert Plan(1, 100, seed=1).order() == Plan(1, 100, seed=1).order() != Plan(1, 100, seed=2).order()
