"""What ours is compared with: the peer, the first sketch of this protocol, and the goal. Literature, not measured here.

The peer (Sentry's buffer) and the sketch were measured elsewhere, on another run of this class of machine, where a
pipelined SET a span cost Redis 2.2 us: our own floor stands beside them, so that nobody compares unlike with unlike.
"""

from __future__ import annotations

from dataclasses import dataclass

PEER_SET_REDIS_US = 2.2


@dataclass(frozen=True, slots=True)
class Side:
    """By the size of the batch."""

    name: str
    us: dict[int, float]
    """Client and Redis CPU, from ingest to clean-up."""
    client_us: dict[int, float]
    commands: dict[int, float]
    bytes_held: dict[int, float]
    times_set: dict[int, float]
    """Redis CPU of ingest against one SET a span."""


PEER = Side(
    "peer",
    us={100: 104, 1000: 62},
    client_us={100: 63, 1000: 40},
    commands={100: 24, 1000: 14},
    bytes_held={100: 1041, 1000: 620},
    times_set={100: 14, 1000: 8.5},
)
SKETCH = Side(
    "first sketch",
    us={100: 72, 1000: 43},
    client_us={100: 44, 1000: 28},
    commands={100: 9.4, 1000: 4.8},
    bytes_held={100: 744, 1000: 461},
    times_set={100: 8, 1000: 4},
)
GOAL = Side(
    "goal",
    us={100: 26, 1000: 15},
    client_us={},
    commands={100: 5, 1000: 2.5},
    bytes_held={100: 200, 1000: 150},
    times_set={100: 3, 1000: 1.5},
)
