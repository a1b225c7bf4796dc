"""Where the figures come from: without it nobody may compare them with others."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import zstandard
from redis import Redis

ROOT = Path(__file__).parent.parent
PACKAGES = ("redis", "hiredis", "zstandard", "msgspec", "celery", "kombu")


@dataclass(frozen=True, slots=True)
class Machine:
    processor: str
    cores: int
    memory_gb: int
    system: str
    python: str
    redis: str
    zstd: str
    packages: dict[str, str]
    commit: str
    measured: str
    """UTC."""


def machine(redis: Redis) -> Machine:
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        memory_gb=round(pages * page / 2**30),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        redis=str(redis.info("server")["redis_version"]),
        zstd=".".join(map(str, zstandard.ZSTD_VERSION)),
        packages={name: version(name) for name in PACKAGES},
        commit=commit(),
        measured=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
    )


def _processor() -> str:
    """Linux does not tell it to platform.processor()."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def commit(tree: Path = ROOT) -> str:
    """With a + when files differ from it; empty outside of a checkout."""
    told = subprocess.run(
        ["git", "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"],
        cwd=tree, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return told.stdout.strip()
