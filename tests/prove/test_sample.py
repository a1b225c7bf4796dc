"""A few seconds of `make prove`: fixed seeds, and small scenarios in every order."""

import pytest

from prove import jobs
from prove.decision import Decision, Kind
from prove.exhaustive import CONFIGURATIONS, Small, every_schedule
from prove.scenario import DUE, Scenario, span
from prove.trial import by_chance, replay
from prove.wire import Wire

NUMBERS = range(600)
SMALL = [small for small in CONFIGURATIONS if not small.events and len(small.scenario.batches) < 3]


def test_no_schedule_by_chance_loses_a_span(wire: Wire) -> None:
    for number in NUMBERS:
        trial = by_chance(wire, 1, number)
        assert not trial.faults, jobs.told(wire, f"python -m prove --seed 1 --only {number}", trial)


@pytest.mark.parametrize("small", SMALL, ids=lambda small: small.name)
def test_no_order_of_a_small_scenario_loses_a_span(wire: Wire, small: Small) -> None:
    trials = list(every_schedule(wire, small))

    assert len(trials) >= 20
    for trial in trials:
        assert not trial.faults, jobs.told(wire, small.name, trial)


def test_a_seed_gives_the_same_schedule_again(wire: Wire) -> None:
    for number in range(30):
        first, second = by_chance(wire, 7, number), by_chance(wire, 7, number)

        assert (first.scenario, first.schedule, first.commands) == (second.scenario, second.schedule, second.commands)


def test_a_schedule_replayed_takes_the_same_decisions(wire: Wire) -> None:
    made = by_chance(wire, 7, 3)

    again = replay(wire, made.scenario, made.schedule)

    assert again.schedule == made.schedule


def test_a_part_of_a_schedule_is_a_schedule(wire: Wire) -> None:
    scenario = Scenario(((span("b", "a"),), (span("a"),)), ahead_ms=DUE)
    nonsense = [Decision(Kind.CRASH, "ingest9"), Decision(Kind.STEP, "ingest1"), Decision(Kind.DROP, "ingest1")]

    trial = replay(wire, scenario, nonsense)

    assert trial.schedule == [Decision(Kind.STEP, "ingest1")]
    assert not trial.faults
