"""What the demo shows while it runs."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from demo.screen import Screen, State
from tests.unit.test_report import SOUND

HALF_WAY = State(replace(SOUND, published=800, outcomes={"invalid.not_json": 2}), total=2_400, buffered=17)


def test_in_a_terminal_the_step_and_the_figures_stand_below_what_happened() -> None:
    console = Console(width=80, color_system=None, force_terminal=True)
    screen = Screen(console)
    screen.doing("replaying")
    screen.show(HALF_WAY)

    with console.capture() as capture:
        console.print(screen.render())

    step, *figures = (line.split() for line in capture.get().splitlines())
    assert step[1:] == ["replaying,", "0", "s"]
    assert [figure[:2] for figure in figures] == [
        ["sent", "1,200"],
        ["published", "800"],
        ["buffered", "17"],
        ["outcomes", "2"],
    ]
    assert figures[3][2:] == ["invalid.not_json", "2"]


def test_elsewhere_each_step_is_a_plain_line() -> None:
    console = Console(width=80, force_terminal=False)
    screen = Screen(console)

    with console.capture() as capture, screen:
        screen.doing("replaying")
        screen.show(HALF_WAY)
        screen.say("worker killed")

    assert capture.get() == "  0.0 s  replaying\n  0.0 s  worker killed\n"
