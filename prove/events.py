"""What a decision does to the world: a step of somebody, or an event."""

from __future__ import annotations

from buffer.model import Digest
from prove.actors import Task
from prove.client import How
from prove.decision import Decision, Kind
from prove.story import told
from prove.world import FLUSH_SIDE, World


def apply(world: World, decision: Decision) -> bool:
    """False when the decision does not apply now."""
    done = EVENTS[decision.kind](world, decision)
    if done:
        world.happened[decision.kind] += 1
    return done


def _step(world: World, decision: Decision) -> bool:
    actor = world.waiting.get(decision.target)
    if actor is None:
        return False
    actor.start()
    how = {Kind.REPEAT: How.REPEAT, Kind.REFUSE: How.REFUSED}.get(decision.kind, How.RUN)
    if how is not How.RUN and not isinstance(actor.waiting_for, tuple):
        return False
    world.step(actor, how)
    return True


def _crash(world: World, decision: Decision) -> bool:
    actor = world.waiting.get(decision.target)
    if actor is None or not actor.steps:
        return False
    world.say(f"{actor.name} crashes before: {told(actor.waiting_for)}")
    actor.crash()
    del world.waiting[actor.name]
    world.may_repeat |= actor.message.task in FLUSH_SIDE
    if actor.message.task is Task.INGEST:
        world.deliver(actor.message)
    return True


def _redeliver(world: World, decision: Decision) -> bool:
    message = world.messages.get(decision.target)
    if message is None or (message.name in world.waiting and not world.waiting[message.name].steps):
        return False
    world.may_repeat |= message.task in FLUSH_SIDE
    world.deliver(message)
    world.say(f"{message.name} is delivered again")
    return True


def _drop(world: World, decision: Decision) -> bool:
    actor = world.waiting.get(decision.target)
    if actor is None or actor.steps or actor.message.task not in (*FLUSH_SIDE, Task.INGEST):
        return False
    if actor.message.task is Task.INGEST:
        if world.deliveries[actor.message.name] == 1:
            return False
        world.abandoned |= not world.acknowledgements[actor.message.name]
    world.may_repeat |= actor.message.task is Task.CLEANUP
    del world.waiting[actor.name]
    world.say(f"{actor.name} never arrives")
    return True


def _clock(world: World, decision: Decision) -> bool:
    world.now_ms += decision.number
    world.latest_ms, world.earliest_ms = max(world.latest_ms, world.now_ms), min(world.earliest_ms, world.now_ms)
    if world.latest_ms - world.earliest_ms >= world.settings.lease_ms:
        world.may_repeat = True
    world.say(f"the clock moves by {decision.number / 1000:+g} s")
    return True


def _forget(world: World, decision: Decision) -> bool:
    world.wire.forget_scripts()
    world.say("SCRIPT FLUSH")
    return True


def _expire(world: World, decision: Decision) -> bool:
    segments = sorted(world.wire.call(("KEYS", b"p:s:*")))
    if not segments or world.abandoned or _ingest_half_done(world):
        return False
    key = segments[decision.number % len(segments)]
    trace, _ = world.buffer.keys.parse_segment(key)
    content = world.wire.calls((("LRANGE", key, 0, -1), ("DEL", key)))[0]
    for field, value in zip(content[::2], content[1::2], strict=True):
        if len(field) == 16:
            world.expired.update(world.buffer.codec.unpack(trace, Digest(field), value))
    world.may_repeat = True
    world.say(f"the TTL of {told((key,))} runs out")
    return True


def _ingest_half_done(world: World) -> bool:
    """An ingest is over, or given up, long before a TTL."""
    at_work = (actor.message for actor in world.waiting.values() if actor.message.task is Task.INGEST)
    return any(world.deliveries[m.name] > 1 or world.actors[m.name].steps for m in at_work)


def _grace(world: World, decision: Decision) -> bool:
    indexes = sorted(world.wire.call(("KEYS", b"p:l:*")))
    over = [key for key in indexes if world.wire.call(("PTTL", key)) <= world.settings.late_grace_ms]
    if not over:
        return False
    world.wire.call(("DEL", over[decision.number % len(over)]))
    world.say("the late grace of a trace runs out")
    return True


def _shards(world: World, decision: Decision) -> bool:
    world.use_shards(decision.number)
    world.say(f"from here on there are {decision.number} shards")
    return True


EVENTS = {
    Kind.STEP: _step,
    Kind.REPEAT: _step,
    Kind.REFUSE: _step,
    Kind.CRASH: _crash,
    Kind.REDELIVER: _redeliver,
    Kind.DROP: _drop,
    Kind.CLOCK: _clock,
    Kind.FORGET: _forget,
    Kind.EXPIRE: _expire,
    Kind.GRACE: _grace,
    Kind.SHARDS: _shards,
}
