"""One decision of a schedule: whose step is next, or what goes wrong. A schedule is a list of them.

A decision that does not apply when its turn comes is passed over, so any part of a schedule is a schedule: that is what
makes failing ones easy to shrink. When the list is at its end, everybody goes on to the end in the order of names.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    STEP = "step"
    CRASH = "crash"
    """The process of a task dies. An ingest is delivered again; what flushes is not."""
    REDELIVER = "redeliver"
    """A message comes again, whether its task has ended or not."""
    DROP = "drop"
    """A message of the flush side never arrives, or an ingest that crashed never comes again."""
    REPEAT = "repeat"
    """The next command is done, its reply is lost, and the client sends the pipeline again."""
    REFUSE = "refuse"
    """Redis has no memory left when the next command begins."""
    CLOCK = "clock"
    FORGET = "forget scripts"
    EXPIRE = "expire"
    """The TTL of a segment runs out."""
    GRACE = "grace"
    """The late grace of a trace without live segments runs out."""
    SHARDS = "shards"
    """Tasks that start from here on have another shard count."""


class Decision(NamedTuple):
    kind: Kind
    target: str = ""
    number: int = 0


Schedule = list[Decision]
