"""`make bench BENCH="--short"` runs, has every figure, and the library hands on each span once. No time is asserted."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.documents import DOCUMENTS, filled
from benchmarks.figures import Report
from benchmarks.machine import ROOT
from benchmarks.sections import SECTIONS
from benchmarks.tables import tables

SECTIONS_OF_THE_LIBRARY = [name for name in SECTIONS if name != "pipeline"]


@pytest.fixture(scope="module")
def figures(redis_program: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bench")
    chosen = [word for name in SECTIONS_OF_THE_LIBRARY for word in ("--only", name)]
    subprocess.run(
        [sys.executable, "-m", "benchmarks", "--short", *chosen, "--json", "figures.json", "--plots", "plots"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=300,
    )
    return directory / "figures.json"


@pytest.fixture
def report(figures: Path) -> Report:
    return msgspec.json.decode(figures.read_bytes(), type=Report)


def named(found: Any, name: str) -> Iterator[Any]:
    """Every value of that name, however deep."""
    if isinstance(found, dict):
        yield from (value for key, value in found.items() if key == name)
    children = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    for child in children:
        yield from named(child, name)


@pytest.mark.parametrize("section", SECTIONS_OF_THE_LIBRARY)
def test_every_section_has_figures_and_a_table(report: Report, section: str) -> None:
    assert getattr(report, section)
    assert all(table.rows for table in tables(report)[section])


def test_no_span_is_missing_and_none_comes_twice(figures: Path) -> None:
    found = msgspec.json.decode(figures.read_bytes())
    for name in ("missing", "twice", "keys_left"):
        counts = list(named(found, name))
        assert counts
        assert set(counts) == {0}, name


def test_every_figure_of_cost_is_a_number_above_zero(report: Report) -> None:
    for each in report.yardstick:
        for cost in (each.floor.set_a_span, each.floor.zstd_set_a_batch, each.best.ingest, each.typical.flush):
            assert all(math.isfinite(getattr(cost, name)) for name in cost.__slots__)
            assert min(cost.client_us, cost.redis_us, cost.commands, cost.sent_bytes) > 0
        assert each.best.ingest.bytes_held > each.best.left_bytes > 0


def test_the_machine_and_the_commit_are_told(report: Report) -> None:
    assert report.machine.processor
    assert report.machine.redis[0].isdigit()
    assert report.machine.packages["zstandard"]


def test_plots_are_written(figures: Path) -> None:
    plots = {path.stem for path in (figures.parent / "plots").glob("*.svg")}
    assert plots == {"cost", "bytes", "flat", "calls", "steady", "balance"}


def test_documents_have_a_place_for_every_section_and_for_nothing_else() -> None:
    texts = {name: f"figures of {name}" for name in [*SECTIONS, "scaling"]}
    shown = "".join(filled(path.read_text(), texts) for path in DOCUMENTS)
    assert all(shown.count(text) == 1 for text in texts.values())
    assert shown.count("<!-- figures ") == len(texts)
