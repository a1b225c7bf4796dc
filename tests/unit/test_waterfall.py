"""A trace as a picture."""

from __future__ import annotations

from rich.console import Console

from demo.otlp import SpanObject
from demo.waterfall import MOST_ROWS, choose, waterfall


def span(span_id: str, parent: str | None, begin: float, end: float, **fields: object) -> SpanObject:
    service = fields.pop("service", None)
    return {
        "trace_id": "t",
        "span_id": span_id,
        "parent_span_id": parent,
        "project_id": 1,
        "name": span_id,
        "start_timestamp": begin,
        "end_timestamp": end,
        "attributes": {"service.name": {"type": "string", "value": service}} if service else None,
    } | fields


def drawn(*spans: SpanObject, width: int = 80) -> list[str]:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(waterfall(spans, width=width))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_tree_with_bars_over_two_services() -> None:
    lines = drawn(
        span("leaf", "mid", 2.0, 2.0, service="shop"),
        span("root", None, 0.0, 4.0, service="web", is_segment=True),
        span("mid", "root", 1.0, 3.0, service="shop", is_segment=True, project_id=2),
        span("tail", "root", 3.0, 4.0, service="web", status="error"),
    )

    assert lines == [
        "trace t  4 spans, 2 segments, 2 services, 4.00 s",
        "● root   web  ████████████████████████████████ 4.00 s",
        "├ ● mid  shop         ████████████████         2.00 s",
        "│ └ leaf shop                 ▏                0.0 ms",
        "└ tail ✗ web                          ████████ 1.00 s",
    ]


def test_a_span_without_its_parent_begins_a_tree_and_a_circle_is_shown_once() -> None:
    lines = drawn(span("b", "gone", 0, 1), span("c", "d", 1, 2), span("d", "c", 2, 3))

    assert [line.split("project")[0].rstrip() for line in lines[1:]] == ["b", "c", "└ d"]


def test_a_span_that_was_published_twice_is_shown_once() -> None:
    assert drawn(span("a", None, 0, 1), span("a", None, 0, 1))[0].startswith("trace t  1 span,")


def test_a_long_trace_ends_with_how_much_is_not_shown() -> None:
    lines = drawn(*(span(f"s{n}", None, n, n + 1) for n in range(MOST_ROWS + 3)))

    assert len(lines) == MOST_ROWS + 2
    assert lines[-1] == "… and 3 spans more"


def test_no_line_is_wider_than_the_terminal_however_deep_the_trace() -> None:
    deep = [span(f"{n}" * 30, f"{n - 1}" * 30 if n else None, n, 40, service="a-long-name") for n in range(30)]

    assert max(map(len, drawn(*deep, width=72))) <= 72


def test_a_trace_deeper_than_the_stack() -> None:
    assert len(drawn(*(span(f"{n}", f"{n - 1}" if n else None, n, n) for n in range(3_000)))) == MOST_ROWS + 2


def test_nothing_published_is_said_in_words() -> None:
    assert drawn() == ["no span of it was published"]


def test_the_trace_chosen_fits_and_crosses_most_services() -> None:
    def trace(trace_id: str, *projects: int) -> list[SpanObject]:
        return [span(str(n), None, n, n + 1, trace_id=trace_id, project_id=p) for n, p in enumerate(projects)]

    long = trace("long", *range(MOST_ROWS + 1))

    assert choose([*trace("one", 1, 1), *long, *trace("three", 1, 2, 3), *trace("two", 1, 2)]) == "three"
    assert choose([]) is None
