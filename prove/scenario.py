"""What one schedule has to get through: the batches that are sent, and the settings they meet.

Small on purpose: a handful of spans in one or two traces, so that everything meets everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random
from string import ascii_lowercase

from buffer import Settings, Span

Batch = tuple[Span, ...]
PAYLOAD_BYTES = 20
UNLIMITED = 10 * 2**20
DUE = (61_000,)
TAKEN_OVER = (61_000, 61_000 + 181_000)
"""To the second `flush_due`, the leases of the first have run out."""
FULL_INDEX = 8
"""Index entries after which links and register entries are no longer made: spans stay safe, repeats are not known."""


@dataclass(frozen=True, slots=True)
class Scenario:
    batches: tuple[Batch, ...]
    flushes: int = 1
    sweeps: int = 0
    shards: int = 1
    chunk: int = 1
    """Claims that one `produce` message takes."""
    ahead_ms: tuple[int, ...] = (0,)
    """How far the clock of each `flush_due` in turn is ahead: 61 s make everything due at once."""
    max_segment_bytes: int = UNLIMITED
    max_index_entries: int = 500_000

    @property
    def spans(self) -> set[Span]:
        return {span for batch in self.batches for span in batch}

    def settings(self, shards: int) -> Settings:
        return _settings(shards, self.max_segment_bytes, self.max_index_entries)


@cache
def _settings(shards: int, max_segment_bytes: int, max_index_entries: int) -> Settings:
    return Settings(
        train_interval=0,
        key_prefix="p",
        shards=shards,
        max_span_bytes=PAYLOAD_BYTES,
        max_segment_bytes=max_segment_bytes,
        max_index_entries=max_index_entries,
        sweep_idle=0,
    )


def span(
    name: str, parent: str | None = None, *, root: bool = False, segment: str | None = None, trace: int = 1
) -> Span:
    """A span by one letter."""
    payload = b'{"n":"%s%d"}' % ((name * (PAYLOAD_BYTES - 9)).encode(), trace)
    parent_id, segment_id = parent and span_id(parent), segment and span_id(segment)
    return Span(1, f"{trace:032x}", span_id(name), parent_id, root, segment_id, payload)


def span_id(name: str) -> str:
    return f"{ord(name):016x}"


def letter(span_id: str) -> str:
    return chr(int(span_id, 16))


B_UNDER_A, C_UNDER_B = span("b", "a"), span("c", "b")
TIGHT = (
    Scenario(((C_UNDER_B,), (B_UNDER_A,)), ahead_ms=DUE),
    Scenario(((C_UNDER_B,), (B_UNDER_A,)), ahead_ms=DUE, max_segment_bytes=PAYLOAD_BYTES),
    Scenario(((B_UNDER_A,), (span("c", "a"),)), flushes=2, ahead_ms=DUE),
    Scenario(((B_UNDER_A,), (span("c", "a"),)), flushes=2, ahead_ms=TAKEN_OVER),
    Scenario(((C_UNDER_B,), (B_UNDER_A,), (span("b", "x"),)), ahead_ms=DUE),
)
"""Nothing but what a race needs: a merge, one that is too large, a newcomer, a span that comes in two versions."""


def random_scenario(random: Random) -> Scenario:
    return random.choice(TIGHT) if random.random() < 0.3 else _grown(random)


def _grown(random: Random) -> Scenario:
    spans = [s for trace in range(1, random.choice((2, 2, 2, 2, 3))) for s in _tree(random, trace)]
    _order(random, spans)
    batches = _cut(random, spans)
    if random.random() < 0.25:
        batches.append(tuple(random.sample(spans, random.randint(1, min(3, len(spans))))))
    if random.random() < 0.15:
        batches.append((_revised(random, random.choice(spans)),))
    return Scenario(
        tuple(batches),
        flushes=random.choice((1, 2, 2, 3)),
        sweeps=random.choice((0, 0, 0, 1)),
        shards=random.choice((1, 1, 2)),
        chunk=random.choice((1, 1, 3)),
        ahead_ms=random.choice(((0,), DUE, DUE, TAKEN_OVER)),
        max_segment_bytes=random.choice((UNLIMITED, UNLIMITED, 2 * PAYLOAD_BYTES, 3 * PAYLOAD_BYTES)),
        max_index_entries=random.choice((500_000,) * 7 + (FULL_INDEX,)),
    )


def _tree(random: Random, trace: int) -> list[Span]:
    size = random.randint(2, 6)
    shape = random.choice(("chain", "bush", "bush"))
    spans = [span("a", trace=trace)]
    for i in range(1, size):
        parent = ascii_lowercase[i - 1 if shape == "chain" else random.randrange(i)]
        segment = "a" if random.random() < 0.08 else None
        spans.append(span(ascii_lowercase[i], parent, root=random.random() < 0.08, segment=segment, trace=trace))
    return spans[1:] if random.random() < 0.2 else spans


def _revised(random: Random, sent: Span) -> Span:
    """The same span id once more, with another parent: a client that repeats itself differently."""
    return span(letter(sent.span_id), random.choice("xab"), trace=int(sent.trace_id, 16))


def _order(random: Random, spans: list[Span]) -> None:
    match random.choice(("as is", "leaf first", "any", "any")):
        case "leaf first":
            spans.reverse()
        case "any":
            random.shuffle(spans)


def _cut(random: Random, spans: list[Span]) -> list[Batch]:
    cuts = sorted(random.sample(range(1, len(spans)), min(len(spans) - 1, random.randint(0, 3))))
    return [tuple(spans[a:b]) for a, b in zip([0, *cuts], [*cuts, len(spans)], strict=True)]
