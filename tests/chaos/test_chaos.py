"""`python -m chaos` in its short form, as a user starts it: it keeps its word, and leaves nothing behind.

The full form, 100,000 spans and 300 kills a broker, is `make chaos`.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from embedded import rabbitmq

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300.0
STOPPED_S = 60.0

pytestmark = [
    pytest.mark.usefixtures("redis_program"),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc"),
]


@pytest.fixture(params=["redis", "quorum"])
def broker(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "quorum":
        try:
            rabbitmq.server_program()
        except rabbitmq.RabbitMissing as missing:
            if os.environ.get("CI"):
                pytest.fail(str(missing))
            pytest.skip(str(missing))
    return name


@contextmanager
def chaos(tmp_path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """In a temporary directory of its own, which every process that it starts inherits."""
    process = subprocess.Popen(
        [sys.executable, "-m", "chaos", *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "160", "PYTHONUNBUFFERED": "1"},
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
    """Command lines of the living processes that were told this temporary directory, or one in it; and its files."""
    found = [path.name for path in tmp_path.iterdir()]
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is somebody else's
            if f"\0TMPDIR={tmp_path}".encode() in b"\0" + (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def test_nothing_is_lost_and_nothing_is_left_behind(tmp_path: Path, broker: str) -> None:
    with chaos(tmp_path, "--broker", broker, "--spans", "6000", "--kills", "12") as process:
        said, _ = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 0, said
    assert re.search(r"^sent +6,\d{3} ", said, re.MULTILINE), said
    assert re.search(r"^lost +0 *$", said, re.MULTILINE), said
    assert re.search(r"^kills +1\d ", said, re.MULTILINE), said
    assert left_behind(tmp_path) == []


def test_stopped_in_the_midst_it_leaves_nothing(tmp_path: Path) -> None:
    with chaos(tmp_path, "--broker", "redis") as process:
        assert process.stdout
        for line in process.stdout:
            if "sending and killing" in line:
                break
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=STOPPED_S)

        assert process.returncode == 128 + signal.SIGINT, said
        assert "Traceback" not in said
        assert left_behind(tmp_path) == []
