"""``celery -A tasks train-dictionary``: learn a dictionary from the buffer now, and say what came of it.

The same that ``spans.train`` does by itself every ``train_interval``; for who does not want to wait, or to know.
"""

import click
from celery.bin.base import CeleryCommand, handle_preload_options
from rich.progress import Progress, SpinnerColumn, TextColumn

from buffer import Settings, SpanBuffer
from buffer.connect import connect
from buffer.errors import BufferUnavailable


@click.command(cls=CeleryCommand, name="train-dictionary")
@click.pass_context
@handle_preload_options
def train_dictionary(context: click.Context) -> None:
    """Learn a compression dictionary from the spans in the buffer, and use it if it is worth it."""
    settings = Settings.from_environment()
    if not settings.train_interval:
        raise click.ClickException("SPANBUF_TRAIN_INTERVAL is 0: nobody would pack with a dictionary.")
    buffer = SpanBuffer(connect(settings.redis_url.get_secret_value()), settings)
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), transient=True) as progress:
        task = progress.add_task("Looking for spans")
        try:
            training = buffer.train(
                progress=lambda spans: progress.update(task, description=f"Learning from {spans:,} spans")
            )
        except BufferUnavailable as error:
            raise click.ClickException(str(error)) from None
    context.obj.echo(str(training))
    context.exit(0 if training.dictionary else 1)
