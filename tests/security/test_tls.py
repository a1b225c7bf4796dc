"""TLS to Redis: certificates are verified by default, against the authority that the URL names or the system's."""

from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest
from kombu.connection import Connection

from buffer.connect import connect
from buffer.errors import BufferUnavailable
from embedded.cluster import RedisClusterServers
from embedded.redis import RedisFailed, RedisServer, free_port
from embedded.sentinel import SERVICE, SentinelServer
from tasks.transport import kombu_url
from tests.builders import grouped, span
from tests.flow import Flow
from tests.security.conftest import Certificates, tls_options, without_tls


@pytest.fixture(scope="module")
def tls_port(redis_program: str, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    server = RedisServer(tmp_path_factory.mktemp("tls"), options=tls_options(certificates, port))
    try:
        server.start()
    except RedisFailed as failure:
        without_tls(failure)
    yield port
    server.stop()


def test_a_server_whose_certificate_is_good(tls_port: int, certificates: Certificates) -> None:
    flow = Flow(connect(f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={certificates.ca}"))
    flow.append(span("a", trace=token_hex(16)))
    assert grouped(flow.drain()) == {"a": {"a"}}


@pytest.mark.parametrize(
    "url",
    [
        "rediss://127.0.0.1:{port}/0?ssl_ca_certs={stranger}",  # another authority's
        "rediss://127.0.0.1:{port}/0",  # not known to this machine
        "rediss://localhost:{port}/0?ssl_ca_certs={ca}",  # another name than it was issued for
        "redis://127.0.0.1:{port}/0",  # not encrypted
        "rediss+cluster://127.0.0.1:{port}?ssl_ca_certs={stranger}",
        "rediss+sentinel://127.0.0.1:{port}/spans?ssl_ca_certs={stranger}",
    ],
)
def test_nothing_is_sent_to_any_other(tls_port: int, certificates: Certificates, url: str) -> None:
    address = url.format(port=tls_port, ca=certificates.ca, stranger=certificates.stranger)
    with pytest.raises(BufferUnavailable):
        Flow(connect(address)).append(span("a"))


def test_a_cluster(redis_program: str, certificates: Certificates, tls_port: int, tmp_path: Path) -> None:
    """The nodes speak TLS among themselves, and tell one another's TLS ports to who asks on such a port."""
    servers = RedisClusterServers(tmp_path)
    ports = [free_port() for _ in servers.nodes]
    servers.nodes = [cluster_node(tmp_path / str(port), certificates, port) for port in ports]
    with servers:
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        flow = Flow(connect(f"rediss+cluster://{hosts}?ssl_ca_certs={certificates.ca}"))
        flow.append(*[span("a", trace=f"{n:032x}") for n in range(1, 20)])
        assert len(flow.drain()) == 19


def cluster_node(directory: Path, certificates: Certificates, tls_port: int) -> RedisServer:
    port = free_port()
    cluster = {"cluster-enabled": "yes", "cluster-node-timeout": "2000", "cluster-port": str(port + 10_000)}
    options = {**cluster, "tls-cluster": "yes", **tls_options(certificates, tls_port)}
    return RedisServer(directory, port=port, options=options)


def test_behind_sentinel(redis_program: str, certificates: Certificates, tls_port: int, tmp_path: Path) -> None:
    """Both ways are verified: to the sentinel that is asked, and to the primary that it names."""
    port = free_port()
    tls = tls_options(certificates, port) | {"tls-replication": "yes", "bind": "127.0.0.1"}
    conf = "".join(f"{name} {value}\n" for name, value in tls.items())
    sentinel = SentinelServer(tmp_path / "sentinel", f"{conf}sentinel monitor {SERVICE} 127.0.0.1 {tls_port} 1\n")
    with sentinel:
        flow = Flow(connect(f"rediss+sentinel://127.0.0.1:{port}/{SERVICE}?ssl_ca_certs={certificates.ca}"))
        flow.append(span("a", trace=token_hex(16)))
        assert grouped(flow.drain()) == {"a": {"a"}}


def test_the_redis_broker(tls_port: int, certificates: Certificates) -> None:
    """`rediss://` for the broker is verified, too: kombu alone would not."""
    with Connection(kombu_url(f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={certificates.ca}")) as connection:
        connection.SimpleQueue("x").put({"a": 1})
    for query in (f"?ssl_ca_certs={certificates.stranger}", ""):
        with (
            Connection(kombu_url(f"rediss://127.0.0.1:{tls_port}/0{query}")) as connection,
            pytest.raises(Exception, match=r"(?i)certificate verify failed"),
        ):
            connection.ensure_connection(max_retries=1)
