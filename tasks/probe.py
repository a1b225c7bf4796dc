"""spans.probe: waits in the ingest queue like any batch, and so measures how long a batch waits there."""

from tasks.app import app, span_buffer


@app.task(name="spans.probe")
def probe(sent_ms: int) -> None:
    span_buffer().probe_seen(sent_ms)
