"""Passwords stand in the settings' URLs, and nowhere else: not in an error, a repr, a log, or what a worker says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from buffer import Settings
from buffer.connect import connect
from buffer.errors import BufferUnavailable, SettingsError
from buffer.settings import env_name
from embedded.redis import RedisServer
from tests.builders import span
from tests.flow import Flow
from tests.pipeline import outside
from tests.security import acl
from tests.security.conftest import Guarded

SECRET = "hunter2"
ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1:1"  # nobody listens there


def test_settings_show_no_secret() -> None:
    settings = Settings(
        redis_url=f"redis://worker:{SECRET}@{HOST}/0",
        broker_url=f"amqp://worker:{SECRET}@{HOST}//",
        sentry_dsn=f"https://{SECRET}@sentry.example/1",
    )
    for shown in (repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in shown


@pytest.mark.parametrize(
    "wrong",
    [
        {"redis_url": f"http://worker:{SECRET}@{HOST}/0"},
        {"redis_url": f"redis://worker:{SECRET}@{HOST}/0", "broker_url": f"redis://worker:{SECRET}@{HOST}/0"},
        {"redis_url": f"redis://worker:{SECRET}@{HOST}/0", "lease": "no number"},
        {"sentry_dsn": f"not a dsn {SECRET}"},
    ],
)
def test_refused_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]) -> None:
    for name, value in wrong.items():
        monkeypatch.setenv(env_name(name), value)
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment()
    assert SECRET not in everything(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://worker:{SECRET}@127.0.0.1:port/0",
        f"redis://worker:{SECRET}/x@{HOST}/0",  # not quoted, so it is taken for a port
        f"redis://worker:{SECRET}#x@{HOST}/0",
        f"redis://worker:{SECRET}@{HOST}/0?socket_timeout={SECRET}",
        f"redis+cluster://worker:{SECRET}@127.0.0.1:port",
        f"redis+cluster://worker:{SECRET}/x@{HOST}",
        f"redis+cluster://worker:{SECRET}@{HOST}",
        f"redis+sentinel://worker:{SECRET}@{HOST}",
        f"redis+sentinel://worker:{SECRET}@127.0.0.1:port/spans",
        f"redis+sentinel://worker:{SECRET}/x@{HOST}/spans",
        f"redis+sentinel://worker:{SECRET}@{HOST}/spans?sentinel_password={SECRET}",
        f"rediss://worker:{SECRET}@{HOST}/0",
        f"unix://worker:{SECRET}@/nowhere/redis.sock",
    ],
)
def test_a_redis_that_cannot_be_reached_shows_no_secret(url: str) -> None:
    with pytest.raises((SettingsError, BufferUnavailable)) as caught:
        Flow(connect(url)).append(span("a"))
    assert SECRET not in everything(caught.value)


def test_a_password_that_is_wrong_is_not_shown(redis_program: str, tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path / "redis", options=acl.options("redis-buffer.acl", tmp_path)) as server,
        pytest.raises(BufferUnavailable) as caught,
    ):
        Flow(connect(f"redis://spans-worker:{SECRET}@127.0.0.1:{server.port}/0")).append(span("a"))
    assert SECRET not in everything(caught.value)


def test_a_client_shows_no_secret() -> None:
    client = connect(f"redis://worker:{SECRET}@{HOST}/0")
    assert isinstance(client, Redis)
    assert SECRET not in repr(client)
    assert SECRET not in repr(client.connection_pool)


@pytest.mark.parametrize(
    "broker",
    [
        f"redis://worker:{SECRET}@{HOST}/0",
        f"amqp://worker:{SECRET}@{HOST}//;amqp://worker:{SECRET}@127.0.0.1:2//",
    ],
)
def test_a_worker_without_broker_shows_no_secret(tmp_path: Path, broker: str) -> None:
    """It tries again and again, and says where."""
    said = worker_says(tmp_path, broker_url=broker, redis_url=f"redis://worker:{SECRET}@{HOST}/1")
    assert "127.0.0.1:1" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    "wrong",
    [
        {"redis_url": f"http://worker:{SECRET}@{HOST}/1", "lease": "1"},
        {"broker_url": f"redis://worker:{SECRET}/x@{HOST}/0"},
        {"broker_url": f"amqp://worker:{SECRET}#x@{HOST}//"},
    ],
)
def test_a_worker_whose_settings_are_refused_shows_no_secret(tmp_path: Path, wrong: dict[str, str]) -> None:
    said = worker_says(tmp_path, **wrong)
    assert "settings refused" in said
    assert SECRET not in said


def test_a_worker_at_work_shows_no_secret(guarded: Guarded) -> None:
    """Also with both servers away for a moment, and with a task that fails."""
    guarded.send([outside.span(1)])
    guarded.sender.send_task("spans.no-such-task", queue="spans.ingest", retry=False)
    guarded.buffer.restart()
    guarded.broker.restart()
    guarded.send([outside.span(1, trace_id="e" * 32)])
    with guarded.broker.client() as broker:
        guarded.until(lambda: broker.exists("buffered-segments") > 0)
    said = guarded.worker.said().decode()
    assert str(guarded.broker.port) in said
    for user in ("spans-worker", "spans-sender"):
        assert acl.password(user) not in said


def everything(error: BaseException) -> str:
    """What a log would show of it: its words, and those of whatever caused it."""
    said = []
    at: BaseException | None = error
    while at:
        said.append(f"{at!r} {at}")
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return "\n".join(said)


def worker_says(directory: Path, **settings: str) -> str:
    """All it said in the seconds that it was let run."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **{env_name(k): v for k, v in settings.items()}}
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--loglevel=DEBUG", "--pool=solo"]
    try:
        done = subprocess.run(
            command, env=environment, cwd=directory, capture_output=True, text=True, timeout=3, check=False
        )
    except subprocess.TimeoutExpired as still:
        return (still.stdout or b"").decode() + (still.stderr or b"").decode()
    return done.stdout + done.stderr
