"""Loaded into a worker under test (`--include`): the flush clock is the one on the wall. The control of `test_lag`."""

from buffer import SpanBuffer


def no_lag(self: SpanBuffer, *, now_ms: int) -> int:
    return 0


SpanBuffer.lag_ms = no_lag  # type: ignore[method-assign]
