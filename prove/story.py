"""Commands and scenarios as people read them: letters for spans, names for scripts and keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

from buffer import scripts
from prove.scenario import UNLIMITED, Scenario, letter

SCRIPTS = {
    script.sha: name
    for name, script in (
        ("append", scripts.APPEND),
        ("claim", scripts.CLAIM),
        ("load", scripts.LOAD),
        ("cleanup-segment", scripts.CLEANUP_SEGMENT),
        ("cleanup-queue", scripts.CLEANUP_QUEUE),
        ("requeue", scripts.REQUEUE),
        ("enqueue", scripts.ENQUEUE),
    )
}
_ID = re.compile(rb"\0{7}([a-z])(?:\0{3}(.))?", re.DOTALL)


def told(step: object) -> str:
    if not isinstance(step, tuple):
        return str(step)
    words = list(step)
    if words[0] == "EVALSHA":
        name = SCRIPTS.get(words[1], "script")
        return f"{name} {' '.join(map(_word, words[3 + (name not in ('claim', 'cleanup-queue')) :]))}"
    if words[:2] == ["SCRIPT", "LOAD"]:
        return "SCRIPT LOAD"
    return " ".join(map(_word, words))


def _word(word: bytes | int | str) -> str:
    if not isinstance(word, bytes):
        return str(word)
    if len(word) == 16:
        return word.hex()[:6]
    if len(word) > 16 and word[:1] == b"\x01":
        return "PART"
    return _letters(word)


@cache
def _letters(word: bytes) -> str:
    plain = _ID.sub(lambda m: m[1] + (b"+%d" % m[2][0] if m[2] else b""), word)
    plain = re.sub(rb"1:0{31}(\d)", rb"trace\1", plain)
    return plain.decode("ascii", "backslashreplace") or "''"


def scenario_lines(scenario: Scenario) -> Iterator[str]:
    for i, batch in enumerate(scenario.batches):
        spans = []
        for s in batch:
            parent = f" under {letter(s.parent_span_id)}" if s.parent_span_id else ""
            marks = (" root" if s.is_segment else "") + (f" segment={letter(s.segment_id)}" if s.segment_id else "")
            trace = f" in trace {int(s.trace_id, 16)}" if int(s.trace_id, 16) != 1 else ""
            spans.append(f"{letter(s.span_id)}{parent}{marks}{trace}")
        yield f"ingest{i}: {', '.join(spans) or 'nothing'}"
    tasks = f"{scenario.flushes} flush_due, {scenario.sweeps} sweep"
    limits = [f"{tasks}, {scenario.shards} shards, chunks of {scenario.chunk}"]
    if scenario.max_segment_bytes != UNLIMITED:
        limits.append(f"max_segment_bytes={scenario.max_segment_bytes}")
    if scenario.max_index_entries < 1000:
        limits.append(f"max_index_entries={scenario.max_index_entries}")
    yield "; ".join(limits)


def lines(scenario: Scenario, trail: Sequence[str], faults: Sequence[str]) -> Iterator[str]:
    yield from scenario_lines(scenario)
    yield from (f"{i:3}. {step}" for i, step in enumerate(trail, 1))
    yield from (f"  => {fault}" for fault in faults)


def kind(fault: str) -> str:
    """What two faults of the same kind have in common: the sentence without names and numbers."""
    return " ".join(re.sub(r"\b[0-9a-f]{6}\b|\d+", "N", fault).split()[:5])
