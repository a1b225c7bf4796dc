"""``make bench``: prints what a span costs and what the floor is, and writes the figures as JSON."""

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.library import Figures, measure
from benchmarks.yardstick import spans
from embedded.redis import RedisServer

BATCHES = (100, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    console = Console()
    with console.status("making spans"):
        wanted = spans(options.spans)
    found: list[Figures] = []
    with tempfile.TemporaryDirectory() as directory, RedisServer(Path(directory)) as server, Progress() as bars:
        for batch in BATCHES:
            bar = bars.add_task(f"batches of {batch}", total=2 * len(wanted))
            with server.client() as redis:
                redis.flushall()
                found.append(measure(redis, wanted, batch, partial(bars.advance, bar)))
    console.print(table(found))
    if options.json:
        options.json.write_text(json.dumps([figures.as_dict() for figures in found], indent=1))


def table(found: list[Figures]) -> Table:
    rows = Table("a span", *[f"batch {figures.batch:,}" for figures in found])

    def row(name: str, *values: str) -> None:
        rows.add_row(name, *values)

    row("ingest: client + Redis CPU, us", *[f"{f.ingest.client_us:.1f} + {f.ingest.redis_us:.1f}" for f in found])
    row("flush and clean-up, us", *[f"{f.flush.client_us:.1f} + {f.flush.redis_us:.1f}" for f in found])
    row("together, us", *[f"{f.ingest.us + f.flush.us:.1f}" for f in found])
    row("Redis commands, ingest", *[f"{f.ingest.commands:.1f}" for f in found])
    row("Redis memory held, bytes", *[f"{f.ingest.bytes_held:.0f}" for f in found])
    row("floor: SET a span, us", *[f"{f.set_a_span.client_us:.1f} + {f.set_a_span.redis_us:.1f}" for f in found])
    row("Redis CPU of ingest / floor", *[f"{f.ingest.redis_us / f.set_a_span.redis_us:.1f}x" for f in found])
    row("floor: zstd SET a batch, us", *[f"{f.zstd_set_a_batch.us:.1f}" for f in found])
    row("missing / twice / keys left", *[f"{f.missing} / {f.twice} / {f.keys_left}" for f in found])
    return rows


if __name__ == "__main__":
    main()
