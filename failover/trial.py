"""One run: traffic on servers whose primaries are killed, until enough spans are in and enough of them were killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from failover.kills import FailingOver, Failover, fail_over
from failover.ledger import Ledger
from failover.traffic import Traffic

_CALM_S = 1.0  # between two kills: so that segments are under way in every state


@dataclass(frozen=True, slots=True)
class Result:
    ledger: Ledger
    failovers: Sequence[Failover]

    @property
    def kept_its_promise(self) -> bool:
        """Every acknowledged span came out, repeats can be dropped by flush id, and nothing but BufferUnavailable."""
        told = self.ledger
        return bool(told.acknowledged) and not (told.lost or told.twice or told.contradictions or told.unexpected)

    def __str__(self) -> str:
        told = self.ledger
        takeovers = sorted(failover.takeover_s for failover in self.failovers)
        lines = [
            f"{len(told.acknowledged):,} spans acknowledged over {len(takeovers)} failovers: lost {len(told.lost):,}, "
            f"repeats with their flush id {told.repeats:,}, spans under two flush ids {told.twice:,}, "
            f"orphans found by the sweep {told.outcomes['sweep.requeued']:,}",
            f"takeover {takeovers[0]:.1f}-{takeovers[-1]:.1f} s; longest call {told.longest_call_s:.1f} s; "
            f"refused as BufferUnavailable {told.refusals.total():,}: "
            + ", ".join(f"{n:,} {cause}" for cause, n in told.refusals.most_common()),
        ]
        lines += [f"UNEXPECTED {n:,} times {error}" for error, n in told.unexpected.items()]
        return "\n".join(lines)


def run(
    servers: FailingOver,
    *,
    spans: int,
    failovers: int,
    ack_replicas: int,
    seed: int,
    pause_s: float,
    cut_off_s: float = 0.0,
    tell: Callable[[str], None] = lambda _: None,
) -> Result:
    """Every second primary is cut off from its replicas for ``cut_off_s`` before it is killed."""
    chance = Random(seed)
    traffic = Traffic(servers.url, ack_replicas=ack_replicas, pause_s=pause_s)
    traffic.start()
    seen: list[Failover] = []
    while len(seen) < failovers or len(traffic.ledger.acknowledged) < spans:
        time.sleep(_CALM_S)
        seen.append(fail_over(servers, chance, 0.0 if len(seen) % 2 else cut_off_s))
        tell(f"{len(seen)} failovers, {len(traffic.ledger.acknowledged):,} spans")
    return Result(traffic.finish(), seen)
