"""A trace's index is bounded. Beyond the bound subtrees may stay apart; nothing is lost."""

from __future__ import annotations

import random

import pytest

from buffer.scripts import Client
from tests.builders import grouped, identities, span
from tests.flow import Flow, keys, leftovers


def tree(size: int, seed: int) -> list[tuple[str, str | None]]:
    rng = random.Random(seed)
    return [("r", None), *((f"s{n}", f"s{rng.randrange(n)}" if n else "r") for n in range(size))]


@pytest.mark.parametrize("bound", [1, 2, 5, 20])
@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_and_nothing_is_left(store: Client, bound: int, seed: int) -> None:
    """Catches whatever needs a link or a register entry to find data again."""
    flow = Flow(store, max_index_entries=bound)
    sent = [span(name, parent) for name, parent in tree(40, seed)]
    random.Random(seed).shuffle(sent)
    for start in range(0, len(sent), 3):
        flow.append(*sent[start : start + 3])
        flow.wait(7)
        if seed % 2:
            flow.flush()
    flow.drain()

    assert identities(flow.spans) == identities(sent)
    assert leftovers(store) == []


def test_the_index_stays_bounded(redis_client: Client) -> None:
    flow = Flow(redis_client, max_index_entries=100)
    flow.append(span("r"))
    for n in range(500):
        flow.append(span(f"s{n}", "r"))
    [index] = keys(redis_client, "l")

    assert redis_client.hlen(index) <= 104


def test_after_the_flush_the_bound_still_holds(redis_client: Client) -> None:
    """Segments of their own, because no link could be kept: their heads go when they are flushed."""
    flow = Flow(redis_client, max_index_entries=10)
    for n in range(100):
        flow.append(span(f"s{n}", f"p{n}"))
    flow.drain()
    [index] = keys(redis_client, "l")

    assert redis_client.hlen(index) <= 12
    assert len(flow.spans) == 100


def test_a_redelivery_beyond_the_bound_is_recognised_when_both_are_flushed(store: Client) -> None:
    flow = Flow(store, max_index_entries=1)
    flow.append(span("a"), span("b", "a"))
    flow.append(span("c", "a"))

    flow.append(span("c", "a"))

    flow.drain()
    assert +flow.outcomes == {"duplicate.same_content": 1}
    assert grouped(flow.published) == {"a": {"a", "b", "c"}}
    assert len(flow.spans) == 3
    assert leftovers(flow.client) == []


def test_a_redelivery_beyond_the_bound_after_a_load_is_a_duplicate(store: Client) -> None:
    """Both copies go with the receipt that names their content; published once, and the other is an outcome."""
    flow = Flow(store, max_index_entries=1)
    flow.append(span("a"), span("b", "a"))
    flow.append(span("c", "a"))
    flow.wait(10)
    loaded = flow.load()
    flow.append(span("c", "a"))

    flow.cleanup(flow.publish(loaded))
    flow.drain()

    assert +flow.outcomes == {"duplicate.same_content": 1}
    assert len(flow.spans) == 3
    assert leftovers(flow.client) == []
