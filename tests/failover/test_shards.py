"""The shard count raised and lowered while appenders and flushers work, each learning of it at another time."""

import time

from embedded.redis import RedisServer
from failover.traffic import Traffic
from tests.flow import leftovers


def test_shards_change_under_load(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.flushall()
        traffic = Traffic(redis_server.url, appenders=3, pause_s=0.05)
        traffic.start()
        for shards in (64, 4, 1, 300, 2):
            time.sleep(0.6)
            traffic.adjust(shards=shards)
        time.sleep(1)
        ledger = traffic.finish()

        assert len(ledger.acknowledged) > 1000
        assert not ledger.lost
        assert (ledger.twice, ledger.contradictions, ledger.outcomes["sweep.requeued"]) == (0, 0, 0)
        assert not ledger.unexpected
        assert leftovers(client) == []
