"""Puts tables into docs/ between their markers, and plots beside them. What stands outside the markers is people's."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from benchmarks.figures import Report
from benchmarks.machine import ROOT, Machine
from benchmarks.plots import write_plots
from benchmarks.scaling import scaling
from benchmarks.tables import tables

DOCUMENTS = (ROOT / "docs" / "performance.md", ROOT / "docs" / "scaling.md")
PLOTS = ROOT / "docs" / "performance"


def write_documents(report: Report) -> None:
    """What was not measured this time keeps the figures that it has."""
    texts = {name: "\n\n".join(table.markdown() for table in made) for name, made in tables(report).items()}
    if needed := list(scaling(report)):
        texts["scaling"] = "\n\n".join(table.markdown() for table in needed)
    texts = {name: f"{text}\n\n{provenance(report.machine)}" for name, text in texts.items()}
    for document in DOCUMENTS:
        document.write_text(filled(document.read_text(), texts))
    write_plots(report, PLOTS)


def provenance(machine: Machine) -> str:
    return (
        f"<sub>{machine.processor}, {machine.cores} cores, {machine.memory_gb} GB; {machine.system}; "
        f"Python {machine.python}, Redis {machine.redis}, zstd {machine.zstd}; "
        f"commit {machine.commit}, {machine.measured} UTC</sub>"
    )


def filled(document: str, texts: dict[str, str]) -> str:
    def fill(found: re.Match[str]) -> str:
        return f"{found[1]}\n{texts[found[2]]}\n{found[4]}" if found[2] in texts else found[0]

    return re.sub(r"(<!-- figures (\w+) -->)(.*?)(<!-- end -->)", fill, document, flags=re.DOTALL)


def write_json(report: Report, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
