"""``python -m prove.fuzz``: the ingest decoder on a million damaged batches. It must never raise, nor lose a neighbour.

The middle one of three spans is damaged: bytes are replaced, removed, doubled, or things put in that have broken
decoders before. On lines of their own both neighbours must come through. In an array what follows may be inside what
the damage has opened, so there only the span before it must.
"""

import json
from collections import Counter
from random import Random

import click
from rich.progress import track

from buffer.decode import REASONS, decode

NASTY = [
    b"NaN",
    b"1e999",
    b"9" * 40,
    b"-" + b"9" * 40,
    b"[" * 1000,
    b"{" * 70,
    b'"',
    b"\\",
    b"\\ud800",
    b"\xff",
    b"\x00",
]
NASTY += [b"null", b"true", b"{}", b"[]", b",", b":", b"}", b"]", b'"span_id":"}"', b'{"a":' * 200, "\u2028".encode()]
LIMITS = {"max_span_bytes": 4096, "max_batch_bytes": 1 << 20, "max_batch_spans": 100}


@click.command()
@click.option("--inputs", default=1_000_000, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(inputs: int, seed: int) -> None:
    random = Random(seed)
    reasons: Counter[str] = Counter()
    whole = 0
    for _ in track(range(inputs), "damaged batches"):
        first, last = (json.dumps(span(number)).encode() for number in (1, 3))
        middle = damaged(random, json.dumps(span(2)).encode())
        lines = random.random() < 0.5
        if lines:
            batch = b"\n".join([first, middle.replace(b"\n", b" "), last])
        else:
            batch = b"[" + b",".join([first, middle, last]) + b"]"
        decoded = decode(batch, **LIMITS)
        found = [each.span_id for each in decoded.spans]
        wanted = [span_id(1), span_id(3)] if lines else [span_id(1)]
        if any(each not in found for each in wanted) or decoded.invalid.keys() - REASONS.keys():
            raise SystemExit(f"a neighbour is lost, or a reason unknown: {batch!r} gave {decoded}")
        reasons.update(decoded.invalid)
        whole += not decoded.invalid
    print(f"{inputs:,} inputs, {whole:,} still sound; none raised, no neighbour lost")
    for reason, count in reasons.most_common():
        print(f"{count:>12,}  {reason}")


def span_id(number: int) -> str:
    return f"{number:016x}"


def span(number: int) -> dict[str, object]:
    value = {"type": "string", "value": "SELECT 1"}
    ids = {"project_id": 1, "trace_id": "ab" * 16, "span_id": span_id(number), "parent_span_id": span_id(9)}
    return {**ids, "name": "GET /", "start_timestamp": 1.5, "is_segment": False, "attributes": {"db.query": value}}


def damaged(random: Random, text: bytes) -> bytes:
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(text))
        end = min(len(text), at + random.choice((1, 1, 2, 8, 40)))
        put = random.choice((bytes([random.randrange(256)]), random.choice(NASTY), b"", text[at:end] * 2))
        text = text[:at] + put + text[random.choice((at, end)) :]
        text = text or b" "
    return text


if __name__ == "__main__":
    main()
