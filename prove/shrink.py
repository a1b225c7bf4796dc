"""Makes a failing schedule small: fewer decisions, batches and spans, as long as the same kind of fault stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from prove.decision import Schedule
from prove.scenario import UNLIMITED, Scenario

T = TypeVar("T")
Fails = Callable[[Scenario, Schedule], bool]


def shrink(scenario: Scenario, schedule: Schedule, fails: Fails) -> tuple[Scenario, Schedule]:
    """The smallest that was found; ``fails`` runs one candidate."""
    smaller = True
    while smaller:
        smaller = False
        for other in _simpler(scenario):
            if fails(other, schedule):
                scenario, smaller = other, True
                break
        shorter = _without(schedule, lambda candidate, s=scenario: fails(s, candidate))  # type: ignore[misc]
        smaller |= len(shorter) < len(schedule)
        schedule = shorter
    return scenario, schedule


def _without(items: Sequence[T], fails: Callable[[list[T]], bool]) -> list[T]:
    """Takes out runs of items, long ones first."""
    kept = list(items)
    size = max(1, len(kept) // 2)
    while True:
        at = 0
        while at < len(kept):
            candidate = kept[:at] + kept[at + size :]
            if fails(candidate):
                kept = candidate
            else:
                at += size
        if size == 1:
            return kept
        size //= 2


def _simpler(scenario: Scenario) -> Iterator[Scenario]:
    """An emptied batch keeps its place, so that the others keep their names."""
    for i, batch in enumerate(scenario.batches):
        rests = [batch[:k] + batch[k + 1 :] for k in range(len(batch))]
        for rest in [(), *rests] if batch else []:
            yield replace(scenario, batches=(*scenario.batches[:i], rest, *scenario.batches[i + 1 :]))
    if scenario.batches and not scenario.batches[-1]:
        yield replace(scenario, batches=scenario.batches[:-1])
    if scenario.flushes:
        yield replace(scenario, flushes=scenario.flushes - 1)
    if scenario.sweeps:
        yield replace(scenario, sweeps=scenario.sweeps - 1)
    plain = {"shards": 1, "chunk": 1, "max_segment_bytes": UNLIMITED, "max_index_entries": 500_000}
    for name, value in plain.items():
        if getattr(scenario, name) != value:
            yield replace(scenario, **{name: value})  # type: ignore[arg-type]
