"""What pytest-celery takes for containers, backed by processes of this machine: no Docker.

It asks a container for its name, status, log and attributes, and tells it to be killed or restarted. `LocalProcess`
answers in Docker's words; the boxes below are pytest-celery's own classes on top of it. A restarted process keeps
its address and its files, a killed one takes its whole process group along. `exec_run` has no answer here.
"""

import signal
from typing import Protocol

from pytest_celery import CeleryWorkerContainer, RedisContainer

from embedded.redis import RedisServer
from embedded.worker import Worker


class Program(Protocol):
    """What `RedisServer` and `Worker` have in common."""

    @property
    def pid(self) -> int | None: ...
    def running(self) -> bool: ...
    def said(self) -> bytes: ...
    def start(self) -> object: ...
    def stop(self, grace_s: float) -> bool: ...
    def kill(self) -> None: ...


class LocalProcess:
    """Answers as `docker.models.containers.Container` does."""

    def __init__(self, name: str, program: Program) -> None:
        self.name = name
        self.program = program

    @property
    def id(self) -> str:
        return f"{self.name}-{self.program.pid or 'ended'}"

    @property
    def status(self) -> str:
        return "running" if self.program.running() else "exited"

    @property
    def attrs(self) -> dict[str, dict[str, object]]:
        return {
            "Config": {"Hostname": "127.0.0.1", "Env": []},
            "HostConfig": {"PortBindings": {}},
            "NetworkSettings": {"Networks": {}, "Ports": {}},
        }

    def logs(self) -> bytes:
        return self.program.said()

    def reload(self) -> None:
        """Nothing is cached here."""

    def kill(self, signum: int | str | None = None) -> None:
        if signum in (None, "SIGKILL", "KILL", signal.SIGKILL):
            self.program.kill()
        else:
            self.program.stop(grace_s=30)

    def restart(self, timeout: float = 30) -> None:
        self.program.stop(timeout)
        self.program.start()


class RedisBox(RedisContainer):
    """A `RedisServer` as pytest-celery's Redis container."""

    def __init__(self, name: str, server: RedisServer) -> None:
        self.server = server
        super().__init__(LocalProcess(name, server))

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def url(self) -> str:
        return self.server.url

    def teardown(self) -> None:
        self.server.kill()


class WorkerBox(CeleryWorkerContainer):
    """A `Worker` as pytest-celery's worker container; it runs this project's app, not a generated one."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        super().__init__(LocalProcess("worker", worker))

    @classmethod
    def worker_name(cls) -> str:
        return "spans"

    @classmethod
    def worker_queue(cls) -> str:
        return "spans.ingest"

    def teardown(self) -> None:
        self.worker.kill()
