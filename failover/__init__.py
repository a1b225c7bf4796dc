"""Redis that fails over, under load: `python -m failover`, or `make failover`.

Spans are appended and flushed through the library while primaries are killed, by Sentinel or in a cluster, and while
slots or shards move. What was acknowledged is compared with what was published.
"""
