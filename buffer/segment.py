"""A segment as it leaves the buffer: its spans, and the messages that carry them.

The messages depend on nothing but the flush record and ``max_message_bytes``, so a repeat is equal byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from buffer.annotate import annotated
from buffer.errors import DamagedPart
from buffer.model import FlushReason, Receipt, Span, Trace

_encode = msgspec.json.Encoder().encode


class Segment(msgspec.Struct, frozen=True):
    trace: Trace
    segment_id: str
    """The root's span id, or the id of the missing parent."""
    spans: list[Span]
    flush_id: str
    """32 hex digits, derived from the content: a repeat has the same."""
    flush_reason: FlushReason
    addendum: bool
    """An earlier flush published spans of this segment already; these came later."""
    receipt: Receipt
    max_message_bytes: int

    @property
    def project_id(self) -> int:
        return self.trace.project_id

    @property
    def trace_id(self) -> str:
        return self.trace.trace_id

    def messages(self) -> list[bytes]:
        """One JSON message; or several of at most ``max_message_bytes``, with ``skip_enrichment`` and numbered ids.

        Raises DamagedPart for a payload that is not a JSON object.
        """
        batches = list(self._batches())
        if len(batches) == 1:
            return [self._message(self.flush_id, batches[0], {})]
        return [
            self._message(f"{self.flush_id}-{number}", batch, {"skip_enrichment": True})
            for number, batch in enumerate(batches, 1)
        ]

    def _batches(self) -> Iterator[list[bytes]]:
        batch: list[bytes] = []
        room = capacity = self.max_message_bytes - ENVELOPE_BYTES
        for span in self.spans:
            payload = self._annotated(span)
            if batch and len(payload) + 1 > room:
                yield batch
                batch, room = [], capacity
            batch.append(payload)
            room -= len(payload) + 1
        yield batch

    def _annotated(self, span: Span) -> bytes:
        try:
            return annotated(span.payload, span.is_segment or span.span_id == self.segment_id, self.segment_id)
        except DamagedPart as damage:
            raise DamagedPart(f"payload of span {span.span_id} cannot be published: {damage}") from None

    def _message(self, flush_id: str, spans: list[bytes], further: dict[str, bool]) -> bytes:
        envelope = {
            "flush_id": flush_id,
            "project_id": self.project_id,
            "trace_id": self.trace_id,
            "segment_id": self.segment_id,
            "flush_reason": self.flush_reason.value,
            **({"addendum": True} if self.addendum else {}),
            **further,
        }
        return _encode(envelope)[:-1] + b',"spans":[' + b",".join(spans) + b"]}"


ENVELOPE_BYTES = 512
"""More than the largest envelope around the spans."""
