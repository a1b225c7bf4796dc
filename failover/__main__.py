"""`make failover`: the long form. Kills primaries under load and counts what was lost; about ten minutes.

Every second primary is cut off from its replicas for half a second before. Without `ack_replicas`, what it acknowledged
in that time is gone: the window.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from embedded.child import scratch_directory, signals_exit
from embedded.cluster import RedisClusterServers
from embedded.redis import server_program
from embedded.sentinel import SentinelServers
from failover.kills import FailingOver
from failover.trial import run


@dataclass(frozen=True, slots=True)
class Setup:
    name: str
    servers: Callable[[Path], FailingOver]
    ack_replicas: int
    promised: bool = True
    """Whether nothing may be lost. Without it, what is lost is measured."""


SETUPS = (
    Setup("sentinel-1", lambda at: SentinelServers(at, replicas=1), 1),
    Setup("sentinel-2", lambda at: SentinelServers(at, replicas=2), 2),
    Setup("cluster", lambda at: RedisClusterServers(at, replicas=1), 1),
    Setup("sentinel-1-without", lambda at: SentinelServers(at, replicas=1), 0, promised=False),
    Setup("cluster-without", lambda at: RedisClusterServers(at, replicas=1), 0, promised=False),
)
CUT_OFF_S = 0.5
NAMES = ", ".join(setup.name for setup in SETUPS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="failover", description=__doc__)
    parser.add_argument("setups", nargs="*", metavar="SETUP", help=f"default: {NAMES}")
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--failovers", type=int, default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    asked = parser.parse_args()
    print(f"{server_program()}, seed {asked.seed}", flush=True)
    with signals_exit():
        return max(_try(setup, asked) for setup in SETUPS if not asked.setups or setup.name in asked.setups)


def _try(setup: Setup, asked: argparse.Namespace) -> int:
    with scratch_directory("span-buffer-failover") as directory, setup.servers(directory) as servers:
        result = run(
            servers,
            spans=asked.spans,
            failovers=asked.failovers,
            ack_replicas=setup.ack_replicas,
            seed=asked.seed,
            pause_s=0.05,
            cut_off_s=CUT_OFF_S,
            tell=lambda progress: print(f"  {setup.name}: {progress}", flush=True),
        )
    print(f"{setup.name}, ack_replicas={setup.ack_replicas}: {result}", flush=True)
    return int(setup.promised and not result.kept_its_promise)


if __name__ == "__main__":
    sys.exit(main())
