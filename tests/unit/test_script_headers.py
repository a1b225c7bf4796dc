"""Every Lua header says what its script takes, and ``buffer.scripts`` calls it like that."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from buffer import scripts
from buffer.codec import Codec
from buffer.keys import Keys
from buffer.model import Claim, FlushId, LeaseUs, Receipt, SegmentKey, Trace
from tests.builders import TRACE_ID, span

SCRIPTS = sorted(each.name.removesuffix(".lua") for each in files("lua").iterdir() if each.name.endswith(".lua"))
KEYS = Keys(b"span-buf", 16)
TRACE, KEY, FLUSH_ID, LEASE_US = Trace(1, TRACE_ID), SegmentKey(b"12345678"), FlushId(b"f" * 16), LeaseUs(1)
TTLS = {"segment_ttl_ms": 1, "index_ttl_ms": 1}

CALLS = {
    "append": scripts.append(
        KEYS,
        [(TRACE, [Codec().pack(KEY, True, [span("a")])])],
        now_ms=1,
        max_segment_bytes=1,
        max_index_entries=1,
        **TTLS,
    ),
    "enqueue": scripts.enqueue(KEYS, {0: ({b"member": 1}, [b"joined"])}, ttl_ms=1, latest_ms=1),
    "claim": scripts.claim(KEYS, 0, now_ms=1, due_ms=1, lease_us=1, limit=1, ttl_ms=1),
    "load": scripts.load(KEYS, [Claim(TRACE, KEY, 0, LEASE_US, 1)], now_ms=1, max_age_ms=1, late_grace_ms=1, **TTLS),
    "cleanup-segment": scripts.cleanup_segment(
        KEYS, [Receipt(TRACE, KEY, 0, LEASE_US, FLUSH_ID)], now_ms=1, late_grace_ms=1, max_index_entries=1
    ),
    "cleanup-queue": scripts.cleanup_queue(KEYS, [scripts.Ended(TRACE, KEY, 0, LEASE_US, None, 1)], ttl_ms=1)[0],
    "requeue": scripts.requeue(KEYS, 0, b"member", deadline_ms=1, ttl_ms=1),
    "count-outcomes": scripts.count_outcomes(b"{outcomes}", {"invalid.bad_span_id": 1}, 1),
}

REPEATED = {"append": 5, "enqueue": 5, "load": 2, "cleanup-segment": 2, "cleanup-queue": 4, "count-outcomes": 2}
"""Arguments of one part of one span, of an entry and one that goes, of one claim, of one counter."""


def header_and_body(script: str) -> tuple[str, str]:
    lines = files("lua").joinpath(f"{script}.lua").read_text().splitlines()
    end = next(n for n, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join(lines[:end]), "\n".join(re.sub("--.*", "", line) for line in lines[end:])


def used(word: str, text: str) -> set[int]:
    return {int(n) for n in re.findall(rf"{word}\[(\d+)", text)}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_header_names_the_verb_and_answers_the_questions(script: str) -> None:
    header, _ = header_and_body(script)

    assert header.startswith(f"-- {script}: ")
    for question in ("-- WHY Lua:", "-- SLOT:", "-- KEYS[1", "-- ARGV[1", "-- RETURNS", "-- COST"):
        assert question in header


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("word", ["KEYS", "ARGV"])
def test_what_the_body_uses_is_declared_and_without_gaps(script: str, word: str) -> None:
    header, body = header_and_body(script)
    declared = used(word, header)

    assert used(word, body) <= declared
    assert declared == set(range(1, max(declared) + 1))


@pytest.mark.parametrize("script", CALLS)
def test_the_typed_call_passes_what_the_header_declares(script: str) -> None:
    header, _ = header_and_body(script)
    command = CALLS[script]
    _, sha, count, *rest = command.words

    assert (sha, command.script) == (scripts.Script.named(script).sha, scripts.Script.named(script))
    assert count == max(used("KEYS", header))
    repeated = REPEATED.get(script, 0)
    assert bool(repeated) == bool(re.search(r"ARGV\[\d\.\.\]", header))
    fixed = max(used("ARGV", header)) - bool(repeated)
    assert len(rest) - int(str(count)) == fixed + repeated


@pytest.mark.parametrize("script", CALLS)
def test_declared_keys_are_of_one_slot(script: str) -> None:
    command = CALLS[script]
    keys = [word for word in command.words[3 : 3 + int(str(command.words[2]))] if isinstance(word, bytes)]

    assert command.key == keys[0]
    assert len({re.findall(rb"{.*?}", key)[0] for key in keys}) == 1


def test_every_script_of_the_buffer_has_a_typed_call() -> None:
    assert {*CALLS, "take-message"} == set(SCRIPTS)
