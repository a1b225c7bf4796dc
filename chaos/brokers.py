"""The brokers that chaos knows: the embedded Redis, and RabbitMQ with either type of queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from embedded.rabbitmq import RabbitServer
from embedded.redis import RedisServer

REDELIVERY_S = 10
"""How long what a killed worker had in hand stays away on Redis: minutes in use."""


class Server(Protocol):
    """What the brokers' servers have in common."""

    @property
    def url(self) -> str: ...
    @property
    def log(self) -> Path: ...
    def running(self) -> bool: ...
    def start(self) -> object: ...
    def stop(self) -> bool: ...
    def kill(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Broker:
    name: str
    title: str
    server: Callable[[Path], Server]
    settings: Mapping[str, str] = field(default_factory=dict)
    """What the workers are told beside its address."""
    client_options: Mapping[str, object] = field(default_factory=dict)
    """With which others talk to it, so that they lose nothing either."""


def _redis(directory: Path) -> RedisServer:
    return RedisServer(directory, keep=True)


_ON_REDIS = {
    "visibility_timeout": REDELIVERY_S,
    "unacked_restore_throttle": 1,
    "priority_steps": [0],
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
}
_ON_RABBITMQ = {"confirm_publish": True}

BROKERS = {
    broker.name: broker
    for broker in (
        Broker("redis", "embedded Redis", _redis, client_options=_ON_REDIS),
        Broker(
            "classic",
            "RabbitMQ, classic queues",
            RabbitServer,
            {"SPANBUF_QUEUE_TYPE": "classic"},
            _ON_RABBITMQ,
        ),
        Broker("quorum", "RabbitMQ, quorum queues", RabbitServer, {"SPANBUF_QUEUE_TYPE": "quorum"}, _ON_RABBITMQ),
    )
}
