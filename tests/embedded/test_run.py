"""`make run`: one pipeline a directory; what it holds survives Ctrl-C, and the next start publishes it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis

ROOT = Path(__file__).parents[2]
SPAN = {
    "project_id": 1,
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "span_id": "00f067aa0ba902b7",
    "start_timestamp": 1.0,
    "end_timestamp": 2.0,
}


@contextmanager
def running(directory: Path, **settings: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "embedded.run"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as run:
        try:
            yield run
        finally:
            run.terminate()


def said_until(run: subprocess.Popen[str], word: str) -> str:
    assert run.stdout is not None
    said = ""
    for line in run.stdout:
        said += line
        if word in line:
            return said
    raise AssertionError(f"{word!r} was not said, but:\n{said}")


def broker(directory: Path) -> Redis:
    return Redis(port=json.loads((directory / ".span-buffer/ports.json").read_text())["broker"])


@pytest.mark.usefixtures("redis_program")
def test_a_segment_buffered_before_ctrl_c_is_published_after_the_next_start(tmp_path: Path) -> None:
    with running(tmp_path, SPANBUF_ROOT_TIMEOUT="6") as run:
        said_until(run, "Watch")
        with broker(tmp_path) as client:
            port = client.get_connection_kwargs()["port"]
            with Celery(broker=f"redis://127.0.0.1:{port}/0") as service:
                service.send_task("spans.ingest", args=[[SPAN]], queue="spans.ingest")
            until(lambda: client.llen("spans.ingest") + client.hlen("unacked") == 0)

        run.send_signal(signal.SIGINT)

        assert "Segments that stay in .span-buffer/: 1." in said_until(run, "make run")
        assert run.wait() == 0

    with running(tmp_path) as run:
        assert f":{port}/0" in said_until(run, "Watch")
        with broker(tmp_path) as client:
            until(lambda: client.llen("buffered-segments") == 1)


@pytest.mark.usefixtures("redis_program")
def test_a_second_run_in_the_directory_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        said_until(first, "Watch")

        with running(tmp_path) as second:
            assert "another `make run` uses" in said_until(second, "does not run")
            assert second.wait() == 1

        assert first.poll() is None


@pytest.mark.usefixtures("redis_program")
def test_settings_that_contradict_each_other_are_told_and_nothing_stays(tmp_path: Path) -> None:
    with running(tmp_path, SPANBUF_LEASE="1") as run:
        said_until(run, "lease (1 s) must exceed task_time_limit")
        assert run.wait() == 1


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 45
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.05)
