"""Span buffer: spans in, whole segments out, none lost. A library on Redis; it knows nothing of Celery."""

from buffer.buffer import SpanBuffer
from buffer.model import Claim, FlushReason, Outcome, Receipt, Span
from buffer.segment import Segment
from buffer.settings import Settings

__all__ = ["Claim", "FlushReason", "Outcome", "Receipt", "Segment", "Settings", "Span", "SpanBuffer"]
