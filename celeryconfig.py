"""Celery's options, queues, routes and beat entries; no logic. Each deviation from a default keeps the promise."""

from datetime import UTC, datetime, timedelta

from kombu.entity import Exchange, Queue

from buffer.settings import Settings
from tasks.transport import broker_ssl, claim_atomically, kombu_url

_settings = Settings.from_environment()
_broker = _settings.broker_url.get_secret_value()
_on_rabbitmq = _broker.startswith(("amqp", "pyamqp"))
claim_atomically()

broker_url = kombu_url(_broker)
broker_use_ssl = broker_ssl(_broker)
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_transport_options = (
    {"confirm_publish": True}
    if _on_rabbitmq
    else {
        "visibility_timeout": _settings.visibility_timeout,
        "unacked_restore_throttle": 1,  # the default looks for unacknowledged messages only every 100 s
        "unacked_restore_interval": 2,
        "unacked_mutex_expire": 10,  # the default keeps messages of a worker killed while restoring for 5 minutes
        "priority_steps": [0],
        "socket_timeout": 30,  # kombu has none, and a frozen broker would block for ever
        "socket_connect_timeout": 5,
    }
)

# A message is acknowledged when its spans are safe, and comes back when the worker dies before.
task_acks_late = True
task_reject_on_worker_lost = True
task_acks_on_failure = True
task_acks_on_timeout = False
task_time_limit = _settings.task_time_limit
task_soft_time_limit = _settings.task_soft_time_limit
task_ignore_result = True
task_store_errors_even_if_ignored = False
worker_prefetch_multiplier = 1
worker_cancel_long_running_tasks_on_connection_loss = False
worker_max_memory_per_child = 300_000
worker_max_tasks_per_child = 10_000
worker_hijack_root_logger = False

task_serializer = "msgpack"
accept_content = ["msgpack", "json"]

_arguments = {"x-queue-type": _settings.queue_type} if _on_rabbitmq else None
task_queues = [
    Queue(name, Exchange(name), name, queue_arguments=_arguments) for name in ("spans.ingest", "spans.flush")
]
task_default_queue = "spans.flush"
task_routes = {
    "spans.ingest": {"queue": "spans.ingest"},
    "spans.probe": {"queue": "spans.ingest"},
    "spans.*": {"queue": "spans.flush"},
}

beat_scheduler = "celery.beat:Scheduler"  # every entry is a matter of seconds, so there is nothing to keep in a file
# An entry expires before the next but one is sent, so a worker that was away does not find a heap of them.
beat_schedule = {
    "flush-due": {
        "task": "spans.flush_due",
        "schedule": _settings.flush_interval,
        "options": {"expires": 2 * _settings.flush_interval},
    },
    "sweep": {
        "task": "spans.sweep",
        "schedule": _settings.sweep_interval,
        "options": {"expires": _settings.sweep_interval},
    },
}
if _settings.train_interval:
    # The first 30 s after the start, when a new system has had spans to learn from. Not by a countdown: a worker that
    # holds a message for later is not idle, and would not stop before.
    _ago = timedelta(seconds=max(0.0, _settings.train_interval - 30))
    beat_schedule["train"] = {
        "task": "spans.train",
        "schedule": _settings.train_interval,
        "last_run_at": datetime.now(UTC) - _ago,
        "options": {"expires": _settings.train_interval},
    }
