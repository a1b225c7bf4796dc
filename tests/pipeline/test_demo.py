"""`python -m demo` as a user starts it: it keeps its word, and it leaves nothing behind whenever it is stopped."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0
STOPPED_S = 20.0

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")


@contextmanager
def demo(tmp_path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """In a temporary directory of its own, which every process that it starts inherits."""
    process = subprocess.Popen(
        [sys.executable, "-m", "demo", *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def left_behind(tmp_path: Path) -> list[str]:
    return [*processes_of(tmp_path), *(path.name for path in tmp_path.iterdir())]


def processes_of(tmp_path: Path) -> list[str]:
    """Command lines of the living processes that were told this temporary directory, or one in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is somebody else's
            if f"\0TMPDIR={tmp_path}".encode() in b"\0" + (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def wait_for_line(process: subprocess.Popen[str], text: str) -> list[str]:
    assert process.stdout
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    pytest.fail(f"the demo ended before it said {text!r}:\n" + "".join(lines))


@pytest.mark.usefixtures("redis_program")
def test_a_short_demo_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    with demo(tmp_path, "--spans", "5000") as process:
        said, _ = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 0, said
    assert "worker killed" in said
    assert re.search(r"^published +5,\d{3} ", said, re.MULTILINE), said
    assert re.search(r"^lost +0 *$", said, re.MULTILINE), said
    assert re.search(r"^trace [0-9a-f]{32}  \d+ spans, ", said, re.MULTILINE), said
    assert left_behind(tmp_path) == []


@pytest.mark.usefixtures("redis_program")
@pytest.mark.parametrize(
    ("moment", "within_s", "signum"),
    [
        ("reading", 0.5, signal.SIGTERM),
        ("starting", 0.3, signal.SIGINT),
        ("starting", 2.0, signal.SIGTERM),
        ("replaying", 1.0, signal.SIGINT),
        ("worker killed", 0.5, signal.SIGTERM),
        ("waiting", 3.0, signal.SIGINT),
    ],
)
def test_stopped_at_any_moment_it_leaves_nothing(
    tmp_path: Path, moment: str, within_s: float, signum: signal.Signals
) -> None:
    with demo(tmp_path, "--spans", "3000") as process:
        wait_for_line(process, moment)
        delay_s = random.uniform(0, within_s)
        time.sleep(delay_s)
        process.send_signal(signum)
        said, _ = process.communicate(timeout=STOPPED_S)

        assert process.returncode == 128 + signum, f"{delay_s} s after {moment}: {said}"
        assert "Traceback" not in said
        assert left_behind(tmp_path) == [], f"{delay_s} s after {moment}"


@pytest.mark.usefixtures("redis_program")
def test_killed_it_leaves_nothing_either(tmp_path: Path) -> None:
    with demo(tmp_path, "--spans", "3000") as process:
        wait_for_line(process, "replaying")
        assert len(processes_of(tmp_path)) > 3

        process.kill()
        process.wait()
        until = time.monotonic() + STOPPED_S
        while left_behind(tmp_path) and time.monotonic() < until:
            time.sleep(0.05)

    assert left_behind(tmp_path) == []


def test_a_word_it_does_not_know_is_told_before_anything_starts(tmp_path: Path) -> None:
    with demo(tmp_path, "--recording", "none-such") as process:
        said, _ = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 2
    assert "otel-demo-faults" in said
