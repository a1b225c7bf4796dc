"""``celery -A tasks train-dictionary``, as it is typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from buffer.scripts import Client
from buffer.training import MIN_SPANS
from embedded.redis import RedisServer
from tests.builders import span, trace_id
from tests.flow import Flow, keys

ROOT = Path(__file__).parents[2]


def typed(server: RedisServer, **environment: str) -> tuple[int, str]:
    told = {**os.environ, "SPANBUF_REDIS_URL": server.url, "SPANBUF_BROKER_URL": "redis://127.0.0.1:1/0", **environment}
    command = [sys.executable, "-m", "celery", "-A", "tasks", "train-dictionary"]
    done = subprocess.run(command, env=told, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_it_says_what_came_of_it(redis_server: RedisServer, redis_client: Client) -> None:
    flow = Flow(redis_client)
    flow.append(*(span("a", trace=trace_id(n), note="much the same " * 20) for n in range(MIN_SPANS)))

    code, said = typed(redis_server)

    assert (code, "1,000 spans" in said, "It is in use." in said) == (0, True, True), said
    [name] = {redis_client.get(key) for key in flow.buffer.keys.dictionary_names()}
    assert isinstance(name, bytes)
    assert name.decode() in said

    code, said = typed(redis_server)

    assert (code, "It was not taken into use: it saves less than 20%." in said) == (0, True), said


def test_it_fails_when_nothing_can_be_trained(redis_server: RedisServer, redis_client: Client) -> None:
    code, said = typed(redis_server)

    assert (code, "Nothing was trained: 0 spans were found" in said) == (1, True), said
    assert keys(redis_client, "z") == []


def test_it_fails_when_it_is_switched_off_or_there_is_no_redis(redis_server: RedisServer) -> None:
    code, said = typed(redis_server, SPANBUF_TRAIN_INTERVAL="0")
    assert (code, "SPANBUF_TRAIN_INTERVAL is 0" in said) == (1, True), said

    code, said = typed(redis_server, SPANBUF_REDIS_URL="redis://127.0.0.1:2/0")
    assert (code, "Redis did not answer" in said, "Traceback" in said) == (1, True, False), said
