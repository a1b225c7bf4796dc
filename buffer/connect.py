"""A Redis client from a URL: one server, a server behind Sentinel, or a cluster; with TLS where the scheme says so.

Sentinels, and the nodes a cluster is first asked at, are a list:
``redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/db]``,
``redis+cluster://[user:password@]host[:port][,host[:port]...]``; ``rediss+...`` for TLS, with verified certificates.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException, RedisError
from redis.sentinel import Sentinel

from buffer.errors import BufferUnavailable, SettingsError
from buffer.scripts import Client

REDIS_PORT, SENTINEL_PORT = 6379, 26379
OPTIONS: dict[str, Any] = {"socket_timeout": 15, "socket_connect_timeout": 5, "decode_responses": False}


def connect(url: str) -> Client:
    """Raises SettingsError for a URL that cannot be one, and BufferUnavailable for a cluster that is away.

    A single server is connected to at the first command. No error shows the password.
    """
    scheme = url.split("://", 1)[0]
    try:
        if scheme in {"redis+cluster", "rediss+cluster"}:
            return _cluster(_Address.of(url))
        if scheme in {"redis+sentinel", "rediss+sentinel"}:
            return _behind_sentinel(_Address.of(url))
        return redis.Redis.from_url(url, health_check_interval=30, **OPTIONS)
    except ValueError:  # its text may show a part of the password
        raise SettingsError(
            f"{scheme}:// URL of the buffer cannot be used: a port must be a number, a password percent-encoded"
        ) from None
    except (RedisError, RedisClusterException) as error:
        raise BufferUnavailable(f"Redis did not answer: {error}. Nothing is lost; do it again.") from error


class _Address(NamedTuple):
    hosts: list[tuple[str, int | None]]
    login: dict[str, Any]
    path: str
    query: dict[str, str]
    tls: dict[str, Any]

    @classmethod
    def of(cls, url: str) -> _Address:
        parts = urlsplit(url)
        login, _, hosts = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        query = dict(parse_qsl(parts.query))
        return cls(
            [_host(host) for host in hosts.split(",")],
            {"username": unquote(user) or None, "password": unquote(password) or None},
            parts.path.strip("/"),
            query,
            {"ssl": True, "ssl_ca_certs": query.get("ssl_ca_certs")} if parts.scheme.startswith("rediss") else {},
        )


def _host(host: str) -> tuple[str, int | None]:
    name, _, port = host.partition(":")
    return name, int(port) if port else None


def _cluster(address: _Address) -> RedisCluster:
    nodes = [ClusterNode(host, port or REDIS_PORT) for host, port in address.hosts]  # type: ignore[no-untyped-call]
    return RedisCluster(startup_nodes=nodes, **address.login, **address.tls, **OPTIONS)


def _behind_sentinel(address: _Address) -> redis.Redis:
    service, _, db = address.path.partition("/")
    if not service:
        raise SettingsError(
            "redis+sentinel:// URL of the buffer must name the service: redis+sentinel://host:26379/service/0"
        )
    sentinel_login = {"password": address.query.get("sentinel_password")}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [(host, port or SENTINEL_PORT) for host, port in address.hosts],
        sentinel_kwargs={**OPTIONS, **sentinel_login, **address.tls},
    )
    client: redis.Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
        service, db=int(db or 0), health_check_interval=30, **address.login, **address.tls, **OPTIONS
    )
    return client
