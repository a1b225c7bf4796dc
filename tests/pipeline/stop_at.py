"""Loaded into a worker under test (`--include`): the worker dies at a named step.

A file `kill-before-NAME` or `kill-after-NAME` in the worker's directory arms it: the next task of that name takes
the worker's whole process group down with SIGKILL, right before its body or right after it, and disarms it first.
A file `hold-before-NAME` makes it wait before its body, and writes `held-before-NAME`, until the file is removed.
The name of every task that ended goes into `ended.log`. The code under test knows nothing of either.
"""

import os
import signal
import time
from pathlib import Path

from celery.signals import task_postrun, task_prerun


def arm(directory: Path, step: str) -> None:
    (directory / f"kill-{step}").touch()


def ended(directory: Path) -> list[str]:
    log = directory / "ended.log"
    return log.read_text().split() if log.exists() else []


@task_prerun.connect
def before(task: object, **_: object) -> None:
    step = f"before-{getattr(task, 'name', '')}"
    _die_if_armed(step)
    while Path(f"hold-{step}").exists():
        Path(f"held-{step}").touch()
        time.sleep(0.02)


@task_postrun.connect
def after(task: object, **_: object) -> None:
    name = getattr(task, "name", "")
    _die_if_armed(f"after-{name}")
    with Path("ended.log").open("a") as log:
        log.write(f"{name}\n")


def _die_if_armed(step: str) -> None:
    flag = Path(f"kill-{step}")
    if flag.exists():
        flag.unlink()
        os.killpg(0, signal.SIGKILL)
