"""How a run ended: the books, what was done to the pipeline, and whether that is what was promised."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from chaos.brokers import Broker
from chaos.plan import Plan, Victim
from chaos.warrants import Step, Whom
from demo.ledger import Balance


@dataclass(frozen=True, slots=True)
class Result:
    broker: Broker
    plan: Plan
    balance: Balance
    resent: int
    changed: int
    """Spans that came again under their flush id in another message."""
    orphans: int
    """Segments that a sweep had to queue again."""
    buffered: int
    """Segments that are still in the buffer."""
    at_steps: Counter[tuple[Step, Whom]]
    at_random: Counter[Victim]
    events: Counter[str]
    fullest: int
    """Messages that waited for a consumer that had stalled, at the most."""
    seconds: float
    missing: list[str]
    """Spans by name, a few."""

    @property
    def kills(self) -> int:
        return self.at_steps.total() + self.at_random.total()

    @property
    def complete(self) -> bool:
        """Whether all that was planned was done to it."""
        return self.balance.sent >= self.plan.spans and self.kills >= self.plan.kills

    @property
    def sound(self) -> bool:
        return self.balance.sound and not self.changed and not self.buffered and self.complete
