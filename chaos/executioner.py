"""Sees to it that the kills of the plan happen, evenly over the time: signs warrants for steps, and kills at random.

Few warrants are open at a time, so that the pipeline lives between two blows; when nobody comes to a step any more,
because the last spans are through, its kills happen at random.
"""

from __future__ import annotations

import time

from chaos.fleet import Fleet
from chaos.plan import AtRandom, AtStep, Plan, Victim
from chaos.warrants import Warrants

MOST_OPEN = 3
NOBODY_COMES_S = 8.0


class Executioner:
    def __init__(self, plan: Plan, warrants: Warrants, fleet: Fleet) -> None:
        self.warrants = warrants
        self._plan = plan
        self._fleet = fleet
        self._to_do = plan.order()
        self._signed = 0
        self._withdrawn = 0
        self._started = time.monotonic()
        self._moved = self._started
        self._done_before = 0

    @property
    def done(self) -> int:
        return self.warrants.executed().total() + self._fleet.killed.total()

    def work(self, *, last_spans: bool) -> int:
        """Does what is due. Returns how many kills have been done."""
        done = self.done
        if done != self._done_before:
            self._done_before, self._moved = done, time.monotonic()
        open_warrants = self._signed - self._withdrawn - self.warrants.executed().total()
        if last_spans and open_warrants and time.monotonic() - self._moved > NOBODY_COMES_S:
            withdrawn = self.warrants.withdraw()
            self._withdrawn += withdrawn
            self._to_do += [AtRandom(Victim.CHILD)] * withdrawn
        elif self._to_do and done + open_warrants < self._due() and open_warrants < MOST_OPEN:
            self._next()
        return done

    def _due(self) -> float:
        return (time.monotonic() - self._started) / self._plan.seconds * self._plan.kills

    def _next(self) -> None:
        match self._to_do[0]:
            case AtStep(step, whom):
                self.warrants.sign(step, whom)
                self._signed += 1
            case AtRandom(victim):
                if not self._fleet.kill_one(victim):
                    return  # nobody works just now; at the next look
        self._to_do.pop(0)
