"""A pipeline per test: a broker Redis, a buffer Redis, a real worker with beat, and the outside that sends and reads.

pytest-celery's fixtures stand on the local boxes (`local`): `celery_setup` gives `.app`, `.broker` and `.worker`.
The test's side is an app of its own that knows the broker's address and nothing else, as other services are.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from pydantic import SecretStr
from pytest_celery import CeleryBrokerCluster, CeleryTestSetup, CeleryTestWorker, CeleryWorkerCluster
from pytest_celery.vendors.redis.broker.api import RedisTestBroker

from buffer.settings import Settings, env_name
from embedded.redis import RedisServer
from embedded.worker import Worker
from tests.pipeline.local import RedisBox, WorkerBox
from tests.pipeline.outside import Pipeline

# Short enough to wait for, and free of contradictions.
QUICK = {
    "root_timeout": 0.2,
    "timeout": 1,
    "flush_interval": 0.2,
    "task_time_limit": 3,
    "lease": 4,
    "visibility_timeout": 4,
}


@pytest.fixture
def buffer_redis(redis_program: str, tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "buffer", keep=True).start()
    yield server
    server.kill()


@pytest.fixture
def celery_broker_cluster(redis_program: str, tmp_path: Path) -> Iterator[CeleryBrokerCluster]:
    server = RedisServer(tmp_path / "broker", keep=True).start()
    node = RedisTestBroker(RedisBox("broker", server))
    yield CeleryBrokerCluster(node)
    node.teardown()


@pytest.fixture
def celery_backend_cluster() -> None:
    """The pipeline keeps no results."""


@pytest.fixture
def settings(
    request: pytest.FixtureRequest, buffer_redis: RedisServer, celery_broker_cluster: CeleryBrokerCluster
) -> Settings:
    """The worker's: QUICK, and what the test's mark `spanbuf` says."""
    marker = request.node.get_closest_marker("spanbuf")
    urls = {"redis_url": buffer_redis.url, "broker_url": celery_broker_cluster[0].container.url}
    return Settings(**{**QUICK, **(marker.kwargs if marker else {}), **urls})


@pytest.fixture
def celery_worker_cluster(
    settings: Settings,
    celery_setup_app: Celery,
    tmp_path: Path,
) -> Iterator[CeleryWorkerCluster]:
    environment = {
        env_name(field): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for field, value in settings.model_dump(exclude_unset=True).items()
    }
    worker = Worker(tmp_path / "worker", environment, include="tests.pipeline.stop_at")
    node = CeleryTestWorker(WorkerBox(worker.start()), app=celery_setup_app)
    yield CeleryWorkerCluster(node)
    node.teardown()


@pytest.fixture
def pipeline(celery_setup: CeleryTestSetup, settings: Settings, buffer_redis: RedisServer) -> Iterator[Pipeline]:
    with Pipeline(celery_setup, settings, buffer_redis) as pipeline:
        yield pipeline
