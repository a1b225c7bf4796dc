"""What leaves for Sentry when a DSN is set: metrics and errors, and neither spans nor secrets."""

import gzip
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from buffer.settings import env_name
from embedded.redis import RedisServer
from embedded.worker import Worker
from tests.pipeline.outside import Pipeline, span


class Collector(ThreadingHTTPServer):
    """Takes envelopes as Sentry does and keeps them."""

    daemon_threads = True

    def __init__(self) -> None:
        self.envelopes: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def dsn(self) -> str:
        return f"http://key@127.0.0.1:{self.server_port}/1"


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        packed = self.headers.get("Content-Encoding") == "gzip"
        self.server.envelopes.append(gzip.decompress(body) if packed else body)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv(env_name("sentry_dsn"), server.dsn)
        yield server
        server.shutdown()
        thread.join()


def test_metrics_leave_and_spans_do_not(collector: Collector, pipeline: Pipeline) -> None:
    pipeline.send([span(1, name="a secret name"), "not a span"])
    pipeline.all_segments()

    def told() -> bool:
        metrics = b"".join(collector.envelopes)
        return b"span_buffer.segments_published" in metrics and b"span_buffer.outcomes" in metrics

    pipeline.until(told, "metrics")
    told_all = b"".join(collector.envelopes)
    assert b"not_an_object" in told_all
    assert b"span_buffer.oldest_overdue" in told_all
    assert b"a secret name" not in told_all


def test_nothing_is_said_without_a_dsn(pipeline: Pipeline, buffer_redis: RedisServer) -> None:
    pipeline.send([span(1)])

    assert len(pipeline.all_segments()) == 1
    worker: Worker = pipeline.worker
    assert b"sentry" not in worker.said().lower()
