"""No pickle: a message that would run code when it is read is refused unread, and the worker goes on."""

import pickle
from pathlib import Path
from secrets import token_hex

import pytest
from kombu.connection import Connection
from kombu.transport.redis import Transport as StockTransport

from tests.pipeline import outside
from tests.security import acl
from tests.security.conftest import Guarded


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("queue", ["spans.ingest", "spans.flush"])
@pytest.mark.parametrize("content_type", ["application/x-python-serialize", "pickle", "application/octet-stream"])
def test_a_pickle_is_refused(guarded: Guarded, tmp_path: Path, queue: str, content_type: str) -> None:
    body = pickle.dumps(((Bomb(tmp_path / "executed"),), {}, {}))
    assert pickle.loads(pickle.dumps(Bomb(tmp_path / "live"))) is None
    assert (tmp_path / "live").exists()  # it would go off

    headers = {"task": "spans.ingest" if queue == "spans.ingest" else "spans.flush", "id": content_type}
    with Connection(acl.url(guarded.broker, "spans-admin"), transport=StockTransport) as connection:
        producer = connection.Producer()
        producer.publish(body, routing_key=queue, headers=headers, content_type=content_type, content_encoding="binary")

    with guarded.broker.client() as broker:
        before = broker.llen("buffered-segments")
        guarded.send([outside.span(1, trace_id=token_hex(16))])
        guarded.until(lambda: broker.llen("buffered-segments") > before)
        guarded.until(lambda: not broker.exists(queue, "unacked"))
    assert not (tmp_path / "executed").exists()
    assert guarded.worker.running()
