"""Workers beside the one that every pipeline test has: for some of the queues, with a module of their own."""

from collections.abc import Mapping
from pathlib import Path

from buffer.settings import Settings, env_name
from embedded.worker import Worker


def environment_of(settings: Settings) -> dict[str, str]:
    """What makes a process work with these settings."""
    secrets = {name: getattr(settings, name).get_secret_value() for name in ("redis_url", "broker_url")}
    told = {**settings.model_dump(exclude_unset=True), **secrets}
    return {env_name(name): str(value) for name, value in told.items()}


class QueueWorker(Worker):
    """Takes from these queues only (`-Q`)."""

    def __init__(
        self, directory: Path, environment: Mapping[str, str], *queues: str, include: str, beat: bool = True
    ) -> None:
        super().__init__(directory, environment, include=include, beat=beat)
        self._options += ["--queues", ",".join(queues)]
