"""The books of one run: the demo's ledger, span by span, and whether a repeat is truly the same message again.

The promise is that a repeat has the flush id and the content that it had before. ``changed`` counts the spans that came
again under their flush id in a message that reads differently.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from demo.ledger import Ledger, SegmentMessage, identity


class Account:
    def __init__(self) -> None:
        self.ledger = Ledger()
        self.changed = 0
        self._decoder = msgspec.json.Decoder(SegmentMessage)
        self._contents: dict[tuple[str, bytes], bytes] = {}

    def publish(self, body: bytes) -> None:
        """A message that came out, as it came."""
        message = self._decoder.decode(body)
        self.ledger.publish(message)
        content = blake2b(body, digest_size=16).digest()
        for span in message.spans:
            known = self._contents.setdefault((message.flush_id, identity(span)), content)
            self.changed += known != content
