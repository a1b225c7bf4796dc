"""Every setting: type, default, unit, why. Read from ``SPANBUF_*``; nothing else in the project reads the environment.

All errors are reported at once, contradictions between settings included, and before anything is started.
Durations are seconds, sizes are bytes. ``python -m buffer.settings`` prints the table in docs/settings.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from buffer.errors import SettingsError

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Bytes = Annotated[int, Field(gt=0)]

REDIS_SCHEMES = (
    "redis://",
    "rediss://",
    "unix://",
    "redis+sentinel://",
    "rediss+sentinel://",
    "redis+cluster://",
    "rediss+cluster://",
)
MAX_SHARDS = 1024


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="SPANBUF_", frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True
    )

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="The buffer's Redis: redis://, unix://, redis+sentinel://, redis+cluster://, and rediss for TLS.",
    )
    broker_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6380/0"),
        description="Celery's broker: Redis or RabbitMQ (amqp://). Another instance than the buffer.",
    )
    sentry_dsn: SecretStr | None = Field(
        None, description="Errors, beat check-ins and metrics go there; silent when unset."
    )
    key_prefix: str = Field(
        "span-buf", pattern=r"^[a-z0-9-]{1,32}$", description="Every Redis key of the buffer begins with it."
    )
    shards: int = Field(
        16,
        ge=1,
        le=MAX_SHARDS,
        description="Due queues. Change it at any time: queues of the old count are emptied, then forgotten.",
    )

    root_timeout: Seconds = Field(10, description="Quiet time after which a segment with its root is due.")
    timeout: Seconds = Field(60, description="Quiet time after which a segment without its root is due.")
    max_segment_age: Seconds = Field(
        600, description="A segment is due this long after its first span, however steadily more arrive."
    )
    late_grace: Seconds = Field(
        600,
        description="How long a trace's index outlives its last segment, for late spans and redeliveries.",
    )
    segment_ttl: Seconds = Field(
        86_400,
        description="Redis forgets a segment this long after its first span or the last try to flush it: `expired`.",
    )
    lease: Seconds = Field(180, description="How long one flush owns a claimed segment before another may try.")
    task_time_limit: Seconds = Field(120, gt=0, description="Celery's hard limit; a task still running then is killed.")
    visibility_timeout: Seconds = Field(
        300, description="Redis broker: a message not acknowledged for so long is delivered again."
    )

    ack_replicas: int = Field(
        0,
        ge=0,
        description="Replicas that must have the spans before an ingest is acknowledged: all of a primary's, or 0.",
    )

    max_segment_bytes: Bytes = Field(
        10 * 2**20,
        lt=2**32,
        description="A segment of more payload takes no more; an overflow segment with the same id does.",
    )
    max_message_bytes: Bytes = Field(
        16 * 2**20, description="A published message is split above this size, each with `skip_enrichment`."
    )
    max_span_bytes: Bytes = Field(2**20, description="A larger span is invalid (`span_too_large`).")
    max_batch_bytes: Bytes = Field(32 * 2**20, description="A larger ingest message is invalid (`batch_too_large`).")
    max_batch_spans: int = Field(
        200_000, gt=0, description="Spans of one ingest message beyond this are invalid (`batch_too_large`)."
    )
    max_index_entries: int = Field(
        500_000,
        gt=0,
        description="Links and register entries of one trace; beyond, nothing is lost but subtrees may stay apart.",
    )

    queue_type: Literal["quorum", "classic"] = Field(
        "quorum", description="RabbitMQ: type of every queue that is declared here."
    )
    max_memory_used: float = Field(
        0.8, gt=0, lt=1, description="Share of a node's `maxmemory` above which workers stop taking ingest messages."
    )
    max_queued_messages: int = Field(
        100_000,
        gt=0,
        description="Messages in `buffered-segments` above which nothing is flushed until some are taken.",
    )
    max_deliveries: int = Field(
        5, gt=0, description="An ingest message that was delivered again more often is set aside (outcome `set_aside`)."
    )
    flush_limit: int = Field(10_000, gt=0, description="Segments that one `flush_due` claims at the most.")
    flush_chunk: int = Field(500, gt=0, description="Segments that one `flush` task takes; its tasks have fixed costs.")
    flush_interval: Seconds = Field(
        0.5, gt=0, description="How often beat looks for due segments: they leave up to twice this past their deadline."
    )
    sweep_interval: Seconds = Field(300, gt=0, description="How often beat looks for segments without queue entry.")
    sweep_idle: Seconds = Field(60, description="The sweep leaves segments alone that were touched more recently.")
    train_interval: Seconds = Field(
        600,
        description="How often beat has a dictionary trained on the buffer's parts; 0: parts are packed without one.",
    )
    publish_timeout: Seconds = Field(10, gt=0, description="How long a publish may wait for the broker's confirm.")

    @field_validator("redis_url")
    @classmethod
    def _known_scheme(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(REDIS_SCHEMES):
            raise ValueError(f"must begin with one of {', '.join(REDIS_SCHEMES)}")
        return url

    @field_validator("redis_url", "broker_url")
    @classmethod
    def _has_ports(cls, url: SecretStr) -> SecretStr:
        """What follows would show a password that is cut at a slash as a port that is none."""
        netloc = urlsplit(url.get_secret_value()).netloc.rpartition("@")[2]
        if any(port and not port.isdigit() for port in re.findall(r"(?:^|,)(?:\[[^\]]*\]|[^:,]*):([^,]*)", netloc)):
            raise ValueError("a port is not a number; special characters of a password must be percent-encoded")
        return url

    @field_validator("sentry_dsn")
    @classmethod
    def _is_dsn(cls, dsn: SecretStr | None) -> SecretStr | None:
        if dsn and not re.fullmatch(r"https?://\S+@\S+/\d+", dsn.get_secret_value()):
            raise ValueError("must be https://key@host/project")
        return dsn

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        found = list(contradictions(self))
        if found:
            raise ValueError("; ".join(found))
        return self

    @property
    def root_timeout_ms(self) -> int:
        return round(self.root_timeout * 1000)

    @property
    def timeout_ms(self) -> int:
        return round(self.timeout * 1000)

    @property
    def max_segment_age_ms(self) -> int:
        return round(self.max_segment_age * 1000)

    @property
    def late_grace_ms(self) -> int:
        return round(self.late_grace * 1000)

    @property
    def lease_ms(self) -> int:
        return round(self.lease * 1000)

    @property
    def segment_ttl_ms(self) -> int:
        return round(self.segment_ttl * 1000)

    @property
    def task_soft_time_limit(self) -> float:
        """When a task is told to stop: three quarters of the limit, in seconds."""
        return 0.75 * self.task_time_limit

    @property
    def index_ttl_ms(self) -> int:
        """Outlives the segments it describes, so that what expires can be counted."""
        return 2 * self.segment_ttl_ms + self.late_grace_ms

    @property
    def queue_ttl_ms(self) -> int:
        """Outlives the data, so that the entry of an expired segment is found and counted."""
        return 3 * self.segment_ttl_ms + self.late_grace_ms

    @classmethod
    def from_environment(cls) -> Settings:
        """The settings of this process, or one SettingsError that lists everything that is wrong with them."""
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError(_all_errors(cls, error)) from None


def contradictions(s: Settings) -> Iterator[str]:
    """Each pair of settings that cannot both hold, as a sentence."""
    longest = s.max_segment_age + s.lease
    if s.segment_ttl <= longest:
        yield (
            f"segment_ttl ({s.segment_ttl:g} s) must exceed the longest life of a segment, "
            f"max_segment_age + lease ({longest:g} s)"
        )
    if s.max_segment_age < max(s.timeout, s.root_timeout):
        yield f"max_segment_age ({s.max_segment_age:g} s) must not be below timeout and root_timeout"
    if s.lease <= s.task_time_limit:
        yield f"lease ({s.lease:g} s) must exceed task_time_limit ({s.task_time_limit:g} s)"
    if s.visibility_timeout <= s.task_time_limit:
        yield f"visibility_timeout ({s.visibility_timeout:g} s) must exceed task_time_limit ({s.task_time_limit:g} s)"
    if s.late_grace <= s.visibility_timeout:
        yield f"late_grace ({s.late_grace:g} s) must exceed visibility_timeout ({s.visibility_timeout:g} s)"
    if s.max_message_bytes < s.max_span_bytes + 1024:
        yield f"max_message_bytes ({s.max_message_bytes}) must exceed max_span_bytes ({s.max_span_bytes}) by 1 KiB"
    if s.max_segment_bytes < s.max_span_bytes:
        yield f"max_segment_bytes ({s.max_segment_bytes}) must not be below max_span_bytes ({s.max_span_bytes})"
    if s.max_batch_bytes < s.max_span_bytes:
        yield f"max_batch_bytes ({s.max_batch_bytes}) must not be below max_span_bytes ({s.max_span_bytes})"
    if s.redis_url.get_secret_value() == s.broker_url.get_secret_value():
        yield "redis_url and broker_url must name different Redis instances: a full broker must not stop the buffer"


def env_name(field: str) -> str:
    return f"SPANBUF_{field.upper()}"


def _all_errors(cls: type[Settings], error: ValidationError) -> str:
    """One line a fault. Pydantic skips the check across fields when one is at fault: so look again without those."""
    lines: list[str] = []
    wrong: dict[str, Any] = {}
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        if fault["loc"]:
            name = str(fault["loc"][0])
            wrong[name] = cls.model_fields[name].default
            lines.append(f"{env_name(name)}: {fault['msg']}")
        else:
            lines += fault["msg"].removeprefix("Value error, ").split("; ")
    if wrong:
        try:
            cls(**wrong)
        except ValidationError as rest:
            return _all_errors(cls, rest) + "\n  " + "\n  ".join(lines)
    return "settings refused, nothing was started:\n  " + "\n  ".join(lines)


def table() -> str:
    """The settings as a Markdown table, for docs/settings.md."""
    rows = ["| variable | default | what it governs |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = default.get_secret_value() if isinstance(default, SecretStr) else default
        rows.append(f"| `{env_name(name)}` | {'' if shown is None else f'`{shown}`'} | {field.description} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(table(), end="")
