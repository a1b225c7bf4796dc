"""The books of the measured pipeline: a span that did not come is lost, one that came twice is repeated."""

import json

from benchmarks.pipeline import books
from benchmarks.traffic import MARK, Pool, Sent, Taken

POOL = Pool(1000)
BATCHES = 2 * len(POOL.texts)


def everything() -> dict[str, list[str]]:
    """Trace -> span ids, read from the texts that are sent."""
    found: dict[str, list[str]] = {}
    for number in range(BATCHES):
        for line in POOL.text(number)[0].splitlines():
            span = json.loads(line)
            found.setdefault(span["trace_id"], []).append(span["span_id"])
    return found


def account(came: dict[str, list[str]]) -> tuple[int, int, list[float]]:
    messages = [(BATCHES + 5.0, trace_id, "flush", tuple(span_ids)) for trace_id, span_ids in came.items()]
    return books(POOL, Sent([float(number) for number in range(BATCHES)], 0.0), Taken(messages, 0.0), 2.0)


def test_every_round_is_sent_under_traces_of_its_own() -> None:
    assert MARK not in b"".join(POOL.text(number)[0] for number in range(BATCHES))
    assert sum(map(len, everything().values())) == 2 * sum(POOL.counts)
    assert len(everything()) == 2 * len(POOL.span_ids)


def test_all_that_came_once_is_neither_lost_nor_repeated() -> None:
    lost, repeated, delays = account(everything())
    assert (lost, repeated, len(delays)) == (0, 0, 2 * len(POOL.span_ids))
    assert min(delays) == 4.0  # the last batch was sent at BATCHES - 1, and due two seconds later


def test_what_did_not_come_is_lost_and_what_came_twice_repeated() -> None:
    came = everything()
    first, second, *_ = came
    gone = came.pop(first)
    came[second] = 2 * came[second]
    assert account(came)[:2] == (len(gone), len(came[second]) // 2)
