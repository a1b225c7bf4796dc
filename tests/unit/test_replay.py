"""How fast a recording is sent, and what the demo's worker is told because of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffer import Settings
from buffer.settings import env_name
from demo.otlp import SpanObject
from demo.recordings import Recorded
from demo.replay import Pace, first_spans, replay


def batch(arrival_ms: int, *names: str) -> Recorded:
    return Recorded(arrival_ms, [{"name": name} for name in names])


def test_the_whole_recording_takes_as_long_as_asked() -> None:
    batches = [batch(1_000, "a"), batch(41_000, "b"), batch(101_000, "c")]

    pace = Pace.to_last(20, batches)

    assert pace.multiple == 5
    assert [due for due, _ in pace.due(batches)] == [0, 8, 20]
    assert (pace.root_timeout_s, pace.timeout_s) == (2, 12)


def test_a_recording_is_never_slowed_down() -> None:
    assert Pace.to_last(20, [batch(0), batch(1_000)]).multiple == 1


def test_the_beginning_of_a_recording_is_sent_at_the_pace_of_the_whole() -> None:
    batches = [batch(0, "a", "b"), batch(10_000, "c"), batch(20_000, "d"), batch(100_000)]
    pace = Pace.to_last(10, batches)

    beginning = list(first_spans(batches, 3))

    assert [spans for _, spans in pace.due(beginning)] == [batches[0].spans, batches[1].spans]
    assert [due for due, _ in pace.due(beginning)] == [0, 1]


def test_every_batch_is_sent_once_and_in_order_though_one_arrived_late() -> None:
    batches = [batch(50, "a"), batch(20, "b"), batch(60, "c")]
    sent: list[SpanObject] = []
    ticks: list[None] = []

    replay(batches, Pace(1), sent.extend, lambda: ticks.append(None))

    assert [span["name"] for span in sent] == ["a", "b", "c"]
    assert len(ticks) >= 3


@given(st.floats(1, 130))
def test_what_the_worker_is_told_contains_no_contradiction(multiple: float) -> None:
    environment = Pace(multiple).environment()

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        settings = Settings()

    assert environment.keys() <= {env_name(field) for field in Settings.model_fields}
    assert settings.root_timeout <= settings.timeout
