"""The explorer finds each known fault when it is put in on purpose, and says so after how many schedules."""

from collections.abc import Callable

import pytest

from prove import jobs, story
from prove.controls import CONTROLS, Control
from prove.shrink import shrink
from prove.trial import Trial, replay
from prove.wire import Wire


def until_caught(wire: Wire) -> tuple[int, Trial]:
    tried = 0
    for tried, trial in enumerate(jobs.attempts(wire, 1), 1):
        if trial.faults:
            return tried, trial
    pytest.fail(f"not caught in {tried} schedules")


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_the_fault_is_caught(wire: Wire, control: Control, record_property: Callable[[str, object], None]) -> None:
    with control.put_in():
        tried, trial = until_caught(wire)
    record_property("schedules", tried)
    print(f"{control.name}: caught after {tried} schedules: {trial.faults[0]}")

    assert not replay(wire, trial.scenario, trial.schedule).faults, "the library itself fails this schedule"


def test_what_is_caught_is_told_in_a_few_steps(wire: Wire) -> None:
    blind = next(control for control in CONTROLS if control.name == "blind clean-up")
    with blind.put_in():
        _, trial = until_caught(wire)
        kind = story.kind(trial.faults[0])
        scenario, schedule = shrink(
            trial.scenario,
            trial.schedule,
            lambda s, decisions: any(story.kind(fault) == kind for fault in replay(wire, s, decisions).faults),
        )

    assert len(schedule) <= 15
    assert sum(map(len, scenario.batches)) <= 6
