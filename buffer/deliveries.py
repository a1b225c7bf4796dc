"""How often one ingest message has been delivered again without being acknowledged: a poison message gives itself away.

Counted only for messages that the broker marks as delivered before, so the usual one costs nothing.
"""

from __future__ import annotations

from hashlib import blake2b

from buffer import scripts
from buffer.keys import Keys
from buffer.scripts import Client, Command
from buffer.settings import Settings


def count_delivery(client: Client, keys: Keys, settings: Settings, message_id: str) -> int:
    """Deliveries after the first, this one included."""
    key = _key(keys, message_id)
    count, _ = scripts.run(
        client, [Command(key, ("INCR", key)), Command(key, ("PEXPIRE", key, settings.late_grace_ms))]
    )
    return int(count)


def forget_deliveries(client: Client, keys: Keys, message_id: str) -> None:
    key = _key(keys, message_id)
    scripts.run(client, [Command(key, ("DEL", key))])


def _key(keys: Keys, message_id: str) -> bytes:
    """The id is whatever a sender chose, so only its digest goes into a key."""
    return keys.deliveries(blake2b(message_id.encode(errors="replace"), digest_size=16).hexdigest())
