"""Errors by what the caller should do. A lost lease or a bad span is a result, not an error."""


class SpanBufferError(Exception):
    """Base of everything the buffer raises on purpose."""


class SettingsError(SpanBufferError):
    """The settings cannot work. Nothing was started: correct them."""


class BufferUnavailable(SpanBufferError):
    """Redis did not do it, or did not say so. Nothing is lost: do the same call again later."""


class BufferFull(BufferUnavailable):
    """Redis has reached maxmemory. What was written is recognised: flush, then do the same call again."""


class DamagedPart(SpanBufferError):
    """Stored bytes are not what was stored. They stay in Redis and are counted; their neighbours are not affected."""


class DictionaryMissing(DamagedPart):
    """The dictionary of a part is not to be had. The part stays in Redis and goes out when it is back."""
