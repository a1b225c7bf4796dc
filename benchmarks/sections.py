"""What is measured, in order. Each section is given an empty Redis of its own and answers with figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib import import_module
from importlib.util import find_spec
from time import time
from typing import Any

from benchmarks.balance import balance
from benchmarks.bench import Bench, Plan, Screen
from benchmarks.calls import calls
from benchmarks.figures import Report
from benchmarks.flat import flat
from benchmarks.library import yardstick
from benchmarks.machine import machine
from benchmarks.recorded import recordings
from benchmarks.steady import steady
from embedded.child import scratch_directory
from embedded.redis import RedisServer


def pipeline(bench: Bench) -> list[dict[str, Any]]:
    """All that goes through, and then half of it, where the delay is what counts."""
    if not find_spec("benchmarks.pipeline"):
        return []
    measure = import_module("benchmarks.pipeline").measure

    found = []
    for broker in bench.plan.brokers:
        bench.doing(f"the pipeline over {broker}, as much as goes through")
        full = measure(broker, seconds=bench.plan.pipeline_s, rate=None)
        found.append({"load": "full", **asdict(full)})
        bench.doing(f"the pipeline over {broker}, half of that")
        half = measure(broker, seconds=bench.plan.pipeline_s, rate=full.published_a_second / 2)
        found.append({"load": "half", **asdict(half)})
    return found


SECTIONS: dict[str, Callable[[Bench], Sequence[object]]] = {
    "yardstick": yardstick,
    "recordings": recordings,
    "steady": steady,
    "flat": flat,
    "calls": calls,
    "balance": balance,
    "pipeline": pipeline,
}


def run(names: Sequence[str], plan: Plan, screen: Screen) -> Report:
    begun = time()
    report: Report | None = None
    for name in names:
        with (
            scratch_directory("span-buffer-bench") as directory,
            RedisServer(directory, options={"slowlog-log-slower-than": "-1"}) as server,
            server.client() as redis,
        ):
            report = report or Report(machine(redis), plan.short)
            found: Any = SECTIONS[name](Bench(server, redis, plan, screen))
            report = replace(report, **{name: found})
        screen.done(name)
    assert report, "no section was asked for"
    return replace(report, took_s=time() - begun)
