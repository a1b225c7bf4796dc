"""The known faults of such a buffer, put in on purpose: an explorer that does not find them proves nothing.

Each is a small change to the library's own code, in memory: a passage of a script, which must be there exactly once,
or a function.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha1
from types import ModuleType
from typing import Any
from unittest.mock import patch

from buffer import buffer, scripts
from buffer.scripts import Script
from prove import faults


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage of a script, and what stands there instead."""

    script: str
    old: str
    new: str

    def change(self, stack: ExitStack) -> None:
        script: Script = getattr(scripts, self.script)
        if script.source.count(self.old) != 1:
            raise LookupError(f"{self.script} must have this passage once: {self.old}")
        source = script.source.replace(self.old, self.new)
        changed = Script(source, sha1(source.encode()).hexdigest())
        stack.enter_context(patch.object(scripts, self.script, changed))


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the library, and what is called instead."""

    module: ModuleType
    name: str
    new: Any

    def change(self, stack: ExitStack) -> None:
        stack.enter_context(patch.object(self.module, self.name, self.new))


@dataclass(frozen=True, slots=True)
class Control:
    name: str
    about: str
    changes: tuple[Passage | Function, ...]

    @contextmanager
    def put_in(self) -> Iterator[None]:
        with ExitStack() as stack:
            for change in self.changes:
                change.change(stack)
            yield


BY_COUNT = (
    Passage(
        "CLEANUP_SEGMENT",
        "  if not record then\n",
        """  local read = redis.call('HGET', index, 'k' .. flush_id)
local same = read and value and #value >= HEAD_BYTES and tonumber(read) == select(2, struct.unpack(HEAD, value))
if not record and same and redis.call('DEL', segment) == 1 then
  redis.call('HSET', index, key, string.sub(value, 1, 1) .. string.rep('\\0', 8) .. string.sub(value, 10))
  if redis.call('HINCRBY', index, 'n', -1) <= 0 then redis.call('PEXPIRE', index, grace) end
  return {1, 0, key, 0}
end
if not record then
""",
    ),
    Passage(
        "CLEANUP_SEGMENT",
        "if before then",
        "if same then\n  kept = {}\n  redis.call('DEL', segment)\nelseif before then",
    ),
)
"""Whether the record is there or not: the count alone decides."""

CONTROLS = (
    Control(
        "blind clean-up",
        "the whole segment is deleted, whatever came since it was read",
        (
            Passage(
                "CLEANUP_SEGMENT",
                "if before then",
                "if true then kept = {} redis.call('DEL', segment) elseif before then",
            ),
        ),
    ),
    Control(
        "clean-up by count",
        "the whole segment is deleted if it counts as many spans as when it was read",
        (
            Passage(
                "LOAD",
                "    call('RPUSH', segment, field, record)\n",
                "    call('RPUSH', segment, field, record)\n    call('HSET', index, 'k' .. sub(field, 2), spans)\n",
            ),
            *BY_COUNT,
        ),
    ),
    Control(
        "count read after content",
        "the same, and the count is read after the content",
        (Function(buffer, "load", faults.load_then_count), *BY_COUNT),
    ),
    Control(
        "queue entry before data, at clean-up",
        "the claim is given back before the content is deleted",
        (Function(buffer, "cleanup", faults.queue_then_segment),),
    ),
    Control(
        "queue entry before data, at append",
        "the segment is queued before its spans are stored",
        (
            Function(buffer, "append", faults.queue_then_append),
            Function(sys.modules["buffer.append"], "_queue", faults.nothing_to_queue),
        ),
    ),
    Control(
        "ZREM at append",
        "an append takes the segments that wait for its spans out of the queue",
        (Function(buffer, "append", faults.append_then_zrem),),
    ),
    Control(
        "scores compared as text",
        "leases are fractions of a second, and compared as they are printed",
        (
            Passage(
                "CLAIM",
                "local queue, claims, lease,",
                "for i = 2, 3 do ARGV[i] = string.format('%.6f', ARGV[i] / 1e6) end\nlocal queue, claims, lease,",
            ),
            Passage(
                "CLEANUP_QUEUE",
                "tonumber(lease) == leases[i]",
                "lease == string.format('%.6f', leases[i] / 1e6)",
            ),
            Function(sys.modules["buffer.load"], "_still_ours", faults.ours_in_seconds),
        ),
    ),
    Control(
        "entry of a parted segment taken out",
        "a segment that is too large to be joined loses its entry as if it had been",
        (
            Passage(
                "APPEND",
                "from[PARTED], from[CHANGED] = base, true\n",
                "from[PARTED], from[CHANGED] = base, true\n"
                "    for _, word in ipairs({0, id, 3, 0}) do reply[#reply + 1] = word end\n",
            ),
        ),
    ),
    Control(
        "entry taken out before the other is set",
        "what has joined another leaves the queue although that one may not get into it",
        (Function(sys.modules["buffer.append"], "_queue", faults.take_out_first),),
    ),
    Control(
        "links overwritten",
        "an append links its spans again, also those that have a link",
        (Passage("APPEND", "not full and not known[id] then", "not full then"),),
    ),
    Control(
        "no custody of merged entries",
        "a claim whose segment has gone does not queue where it went",
        (Function(scripts, "load_reply", faults.forget_where),),
    ),
    Control(
        "claims without lease check",
        "a clean-up ends the claim of whoever holds it",
        (Passage("CLEANUP_QUEUE", "if lease and tonumber(lease) == leases[i] then", "if lease then"),),
    ),
    Control(
        "flush record not fixed",
        "what a flush publishes is made up anew at each try",
        (
            Passage(
                "LOAD",
                "    if #field == 17 and ",
                "    if #field == 17 then\n      call('LREM', segment, 1, field)\n"
                "      call('LREM', segment, 1, stored)\n"
                "      for _ = 1, 2 do table.remove(content, i) end\n    elseif #field == 17 and ",
            ),
        ),
    ),
)
