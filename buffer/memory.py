"""How full Redis is: the fullest node, not the sum, for a hash slot cannot use a neighbour's room.

The buffer must not run into ``maxmemory``: its own flushing would go on, but every append would be refused. And it must
never run on a Redis that evicts: that loses spans without a word.
"""

from __future__ import annotations

from typing import Any

from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from buffer.errors import BufferUnavailable, SettingsError
from buffer.scripts import Client


def memory_used(client: Client) -> float:
    """Share of ``maxmemory`` in use on the fullest node; 0 where there is no limit."""
    return max(info["used_memory"] / info["maxmemory"] if info["maxmemory"] else 0.0 for info in _memory(client))


def refuse_eviction(client: Client) -> None:
    """Raises SettingsError when a node may evict keys. Nothing was started."""
    policies = {info["maxmemory_policy"] for info in _memory(client)} - {"noeviction"}
    if policies:
        raise SettingsError(
            f"the buffer's Redis has maxmemory-policy {', '.join(sorted(policies))} and would drop spans silently: "
            "set it to noeviction"
        )


def _memory(client: Client) -> list[dict[str, Any]]:
    try:
        if isinstance(client, RedisCluster):
            found = client.info("memory", target_nodes=RedisCluster.PRIMARIES)
            return list(found.values()) if "used_memory" not in found else [found]
        return [client.info("memory")]
    except (RedisError, RedisClusterException) as error:
        raise BufferUnavailable(f"Redis did not answer: {error}. Nothing is lost; do it again.") from error
