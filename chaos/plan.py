"""What is done to a pipeline: how many spans, how many kills of which sort, in what time. Decided by the seed alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from chaos.warrants import Step, Whom

SECONDS_A_KILL = 1.4
LEAST_SECONDS = 20.0
AT_STEPS = 0.8


class Victim(StrEnum):
    WORKER = "worker"
    CHILD = "child"
    BEAT = "beat"


VICTIMS = (Victim.WORKER, Victim.CHILD, Victim.BEAT, Victim.CHILD)


@dataclass(frozen=True, slots=True)
class AtStep:
    step: Step
    whom: Whom


@dataclass(frozen=True, slots=True)
class AtRandom:
    """At whatever it is just doing."""

    victim: Victim


Kill = AtStep | AtRandom


@dataclass(frozen=True, slots=True)
class Plan:
    spans: int
    kills: int
    seed: int

    @property
    def seconds(self) -> float:
        """In which the spans are sent and the kills are done."""
        return max(LEAST_SECONDS, SECONDS_A_KILL * self.kills)

    @property
    def gap_s(self) -> float:
        """Between two events around the workers."""
        return min(6.0, self.seconds / 20)

    def chance(self, of: str) -> Random:
        """Each part has its own, so that one's dice do not depend on when another throws."""
        return Random(f"{self.seed} {of}")

    def order(self) -> list[Kill]:
        """Every step in turn, one time in four with the whole worker, and the rest at random."""
        at_steps = round(AT_STEPS * self.kills)
        steps = list(Step)
        kills: list[Kill] = []
        for n in range(at_steps):
            turn, step = divmod(n, len(steps))
            kills.append(AtStep(steps[step], Whom.CHILD if (step + turn) % 4 else Whom.WORKER))
        kills += [AtRandom(VICTIMS[n % len(VICTIMS)]) for n in range(self.kills - at_steps)]
        self.chance("order").shuffle(kills)
        return kills
