"""Loaded into a worker under test (`--include`): a batch with the word "deadly" kills the process that decodes it.

It does so as long as there is a file `killer` in the worker's directory.
"""

import os
import signal
from pathlib import Path
from typing import Any

import tasks.ingest
from buffer.decode import Decoded, decode

ARMED = "killer"


def decode_or_die(batch: object, **limits: Any) -> Decoded:
    if "deadly" in repr(batch) and Path(ARMED).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(batch, **limits)


tasks.ingest.decode = decode_or_die  # type: ignore[attr-defined]
