"""A Redis client from a URL: one server, a server behind Sentinel, or a cluster; with TLS where the scheme says so."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
from redis.cluster import RedisCluster
from redis.sentinel import Sentinel

from buffer.errors import SettingsError
from buffer.scripts import Client

SENTINEL_PORT = 26379
OPTIONS: dict[str, Any] = {"socket_timeout": 15, "socket_connect_timeout": 5, "decode_responses": False}


def connect(url: str) -> Client:
    """Connects at the first command. Raises SettingsError for a URL that cannot be one; it never shows the password."""
    scheme = url.split("://", 1)[0]
    try:
        if scheme == "redis+cluster":
            return RedisCluster.from_url(url.replace("redis+cluster", "redis", 1), **OPTIONS)
        if scheme == "redis+sentinel":
            return _behind_sentinel(url)
        return redis.Redis.from_url(url, health_check_interval=30, **OPTIONS)
    except ValueError as error:
        raise SettingsError(f"{scheme}:// URL of the buffer cannot be used: {error}") from None


def _behind_sentinel(url: str) -> redis.Redis:
    """redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/db][?sentinel_password=...]"""
    parts = urlsplit(url)
    service, _, db = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("the path must name the service: redis+sentinel://host:26379/service/0")
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    credentials = {"username": unquote(user) or None, "password": unquote(password) or None}
    sentinel_password = dict(parse_qsl(parts.query)).get("sentinel_password")
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [_address(host) for host in hosts.split(",")], sentinel_kwargs={**OPTIONS, "password": sentinel_password}
    )
    client: redis.Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
        service, db=int(db or 0), health_check_interval=30, **credentials, **OPTIONS
    )
    return client


def _address(host: str) -> tuple[str, int]:
    name, _, port = host.partition(":")
    return name, int(port or SENTINEL_PORT)
