"""The Celery app, and what its tasks share: the settings, and one buffer per worker process."""

from functools import cache

import sentry_sdk
from celery import Celery
from celery.signals import worker_init
from celery.utils.log import get_logger
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.redis import RedisIntegration

from buffer import SpanBuffer
from buffer.connect import connect
from buffer.errors import BufferUnavailable, SettingsError
from buffer.settings import Settings
from tasks.intake_gate import IntakeGate

logger = get_logger(__name__)

try:
    settings = Settings.from_environment()
except SettingsError as error:
    raise SystemExit(str(error)) from None

app = Celery("span-buffer", include=["tasks.ingest", "tasks.flush", "tasks.sweep", "tasks.probe", "tasks.train"])
app.config_from_object("celeryconfig")
app.steps["consumer"].add(IntakeGate)

if settings.sentry_dsn:
    # Check-ins know no schedule under a minute, and flush-due comes twice a second.
    celery_integration = CeleryIntegration(monitor_beat_tasks=True, exclude_beat_tasks=["flush-due"])
    sentry_sdk.init(
        settings.sentry_dsn.get_secret_value(),
        integrations=[celery_integration, RedisIntegration()],
        include_local_variables=False,  # they would carry spans
    )


@cache
def span_buffer() -> SpanBuffer:
    """This process's buffer, connected at its first task: a connection must not cross a fork."""
    return SpanBuffer(connect(settings.redis_url.get_secret_value()), settings)


@worker_init.connect
def _refuse_eviction(**_: object) -> None:
    """A worker does not start on a Redis that would drop spans silently; on one that is away it does, and waits."""
    try:
        SpanBuffer(connect(settings.redis_url.get_secret_value()), settings).refuse_eviction()
    except SettingsError as error:
        raise SystemExit(str(error)) from None
    except BufferUnavailable as error:
        logger.warning("Could not look at the buffer's maxmemory-policy: %s", error)
