"""What the demo says at its end."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from demo.ledger import Balance, SpanName
from demo.report import ledger_table, verdict

SOUND = Balance(
    sent=1_200,
    batches=3,
    published=1_200,
    messages=42,
    segments=40,
    repeats=7,
    repeats_same_flush=7,
    missing=0,
    unknown=0,
    outcomes={},
)


def said(balance: Balance, missing: list[SpanName] | None = None) -> str:
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(ledger_table(balance, seconds=31.25))
        for line in verdict(balance, missing or []):
            console.print(line, soft_wrap=True)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def test_a_sound_ledger() -> None:
    assert said(SOUND) == (
        "sent       1,200  spans in 3 batches\n"
        "published  1,200  spans, compared one by one with those sent\n"
        "segments      40  in 42 messages\n"
        "repeats        7  after the kill, all under the flush id that they had\n"
        "outcomes       0  none\n"
        "lost           0\n"
        "seconds     31.2  with the start of the servers\n"
        "lost 0: every span came out as it went in, though the worker was killed."
    )


def test_lost_spans_are_named_but_not_all_of_them() -> None:
    missing = [SpanName(1, "t", f"s{n}") for n in range(8)]

    text = said(replace(SOUND, published=1_192, missing=8), missing)

    assert "lost 8: these spans were sent, and neither published nor counted:" in text
    assert "  project 1, trace t, span s4\n  and 3 more" in text
    assert "lost 0" not in text


def test_outcomes_are_told_by_reason() -> None:
    text = said(replace(SOUND, published=1_197, missing=3, outcomes={"invalid.not_json": 2, "expired.ttl": 1}))

    assert "outcomes       3  expired.ttl 1, invalid.not_json 2" in text
    assert "lost 0" in text


def test_changed_spans_and_repeats_that_cannot_be_dropped_are_faults_too() -> None:
    text = said(replace(SOUND, unknown=1, repeats=9))

    assert "1 spans came out that were never sent like this" in text
    assert "2 repeats came under another flush id" in text
    assert "7 under the flush id that they had" in text
    assert "lost 0:" not in text
