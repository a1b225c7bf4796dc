"""train: learn a dictionary from the parts that are in the buffer, and take it into use if it is worth it.

Beside the way of a span: reads, and changes nothing but the dictionary in use. Half of the segments are learnt from, on
the other half what was learnt is compared with what is in use now. Redis hands out keys by their hash, so the first
segments are as random as any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import zstandard
from redis.exceptions import RedisClusterException, RedisError

from buffer import scripts
from buffer.codec import HEADER, Codec
from buffer.dictionaries import Dictionaries
from buffer.dictionary import TRAINED_LEVEL, Dictionary
from buffer.errors import BufferUnavailable, DamagedPart
from buffer.keys import Keys
from buffer.model import Digest
from buffer.scripts import Client, Command

MAX_DICTIONARY_BYTES = 32 * 2**10
"""Recorded spans take 62 bytes with 16 KiB, 58 with 32, 59 with 64, 58 with 112."""
MIN_SPANS = 1000
MIN_GAIN = 0.2
"""Share of the bytes that a change must save: each one costs every process a fetch."""
MAX_BYTES = 8 * 2**20
"""Of content that is looked at: trains in less than half a second of CPU."""
MAX_SAMPLE_BYTES = 16 * 2**10
"""Of one part that is learnt from: a large one must not outweigh the others."""
SEGMENTS_AT_ONCE, PARTS_A_SEGMENT = 8, 8


@dataclass(frozen=True, slots=True)
class Training:
    """What came of it. The bytes are of a packed span; without a measurement they are 0."""

    spans: int
    bytes_before: float = 0
    bytes_after: float = 0
    dictionary: str = ""
    refusal: str = ""
    """Why it was not adopted; empty when it was."""

    @property
    def adopted(self) -> bool:
        return not self.refusal

    def __str__(self) -> str:
        if not self.dictionary:
            return f"Nothing was trained: {self.refusal}."
        compared = f"{self.bytes_before:.0f} bytes a span now, {self.bytes_after:.0f} with dictionary {self.dictionary}"
        return f"Trained on {self.spans:,} spans: {compared}. " + (
            f"It was not taken into use: {self.refusal}." if self.refusal else "It is in use."
        )


@dataclass(frozen=True, slots=True)
class _Sample:
    """Parts of one segment: what only they have in common must not be learnt and judged by."""

    contents: list[bytes]
    spans: int


def train(
    client: Client, keys: Keys, codec: Codec, dictionaries: Dictionaries, progress: Callable[[int], object]
) -> Training:
    """``progress`` is told how many spans were read. Raises BufferUnavailable."""
    samples: list[_Sample] = []
    spans = size = 0
    for sample in _samples(client, keys, codec):
        samples.append(sample)
        spans += sample.spans
        size += sum(map(len, sample.contents))
        progress(spans)
        if size >= MAX_BYTES:
            break
    if spans < MIN_SPANS:
        return Training(spans, refusal=f"{spans:,} spans were found, {MIN_SPANS:,} are needed")
    if (learnt := _learnt(samples[::2])) is None:
        return Training(spans, refusal="the spans have too little in common")
    return _judged(learnt, samples[1::2], spans, dictionaries)


def _samples(client: Client, keys: Keys, codec: Codec) -> Iterator[_Sample]:
    try:
        found = client.scan_iter(match=keys.prefix + b":s:*", count=500)
        while batch := list(islice(found, SEGMENTS_AT_ONCE)):
            commands = [Command(key, ("LRANGE", key, 0, 2 * PARTS_A_SEGMENT - 1)) for key in batch]
            for reply in scripts.run(client, commands, foreign_types=True):
                fields = scripts.flat(reply or [])
                if (sample := _sample(codec, dict(zip(fields[::2], fields[1::2], strict=False)))).spans:
                    yield sample
    except (RedisError, RedisClusterException) as error:
        raise BufferUnavailable(f"Redis did not answer: {error}. Nothing is lost; do it again.") from error


def _sample(codec: Codec, fields: dict[bytes, bytes]) -> _Sample:
    contents: list[bytes] = []
    spans = 0
    for field, value in fields.items():
        try:
            content, count, _ = codec.content(Digest(field), value)
        except DamagedPart:  # or a flush record, or somebody else's: load reports what should be one
            continue
        contents.append(content)
        spans += count
    return _Sample(contents, spans)


def _learnt(samples: Sequence[_Sample]) -> Dictionary | None:
    texts: list[bytes | bytearray | memoryview] = [
        content[:MAX_SAMPLE_BYTES] for sample in samples for content in sample.contents
    ]
    try:
        return Dictionary(zstandard.train_dictionary(MAX_DICTIONARY_BYTES, texts, level=TRAINED_LEVEL).as_bytes())
    except zstandard.ZstdError:
        return None


def _judged(learnt: Dictionary, samples: Sequence[_Sample], spans: int, dictionaries: Dictionaries) -> Training:
    before, after = (_bytes_a_span(samples, dictionary) for dictionary in (dictionaries.in_use(), learnt))
    refusal = "" if after <= (1 - MIN_GAIN) * before else f"it saves less than {MIN_GAIN:.0%}"
    if not refusal:
        dictionaries.adopt(learnt)
    return Training(spans, before, after, f"{learnt.id:08x}", refusal)


def _bytes_a_span(samples: Sequence[_Sample], dictionary: Dictionary) -> float:
    packed = sum(HEADER.size + len(dictionary.compress(content)) for each in samples for content in each.contents)
    return packed / sum(sample.spans for sample in samples)
