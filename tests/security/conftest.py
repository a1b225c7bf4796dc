"""A worker of least rights on two servers with users, and certificates of an authority that only the test knows."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from celery import Celery

from buffer.settings import env_name
from embedded.redis import RedisFailed, RedisServer
from embedded.worker import Worker
from tests.pipeline.conftest import QUICK
from tests.security import acl

_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Guarded:
    """The pipeline with users: who sends may only send, and the worker only what it needs."""

    buffer: RedisServer
    broker: RedisServer
    worker: Worker
    sender: Celery

    def send(self, *args: object) -> None:
        self.sender.send_task("spans.ingest", args=args, queue="spans.ingest", retry=False)

    def until(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + _PATIENCE_S
        while not condition():
            assert time.monotonic() < until, self.worker.said().decode()[-4000:]
            time.sleep(0.05)


@pytest.fixture(scope="module")
def guarded(redis_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("guarded")
    with (
        RedisServer(directory / "buffer", options=acl.options("redis-buffer.acl", directory)) as buffer,
        RedisServer(directory / "broker", options=acl.options("redis-broker.acl", directory)) as broker,
    ):
        environment = {env_name(name): str(value) for name, value in {**QUICK, "sweep_interval": 1}.items()}
        environment[env_name("redis_url")] = acl.url(buffer, "spans-worker")
        environment[env_name("broker_url")] = acl.url(broker, "spans-worker")
        worker = Worker(directory, environment).start()
        sender = Celery(broker=acl.url(broker, "spans-sender"))
        yield Guarded(buffer, broker, worker, sender)
        sender.close()
        worker.kill()


@dataclass(frozen=True, slots=True)
class Certificates:
    """Of 127.0.0.1, and of an authority that somebody else trusts."""

    ca: Path
    stranger: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory = tmp_path_factory.mktemp("certificates")
    found = Certificates(*(directory / f"{name}.pem" for name in ("ca", "stranger", "certificate", "key")))
    authority, issued = trustme.CA(), None
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(found.ca))
    trustme.CA().cert_pem.write_to_path(str(found.stranger))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(found.certificate), append=True)
    issued.private_key_pem.write_to_path(str(found.key))
    return found


def tls_options(certificates: Certificates, port: int) -> dict[str, str]:
    """A server's that speaks TLS on that port, and plainly on its own, for the test's eyes."""
    return {
        "tls-port": str(port),
        "tls-ca-cert-file": str(certificates.ca),
        "tls-cert-file": str(certificates.certificate),
        "tls-key-file": str(certificates.key),
        "tls-auth-clients": "no",
    }


def without_tls(failure: RedisFailed) -> None:
    """The Redis that comes with the install speaks no TLS; the one from a distribution does."""
    if "Bad directive" not in str(failure) and "FATAL CONFIG" not in str(failure):
        raise failure
    missing = "The redis-server here speaks no TLS. Put one on PATH that does (apt install redis-server)."
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)
