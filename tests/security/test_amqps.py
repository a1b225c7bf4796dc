"""TLS to RabbitMQ, as the worker connects: the server's certificate is verified, its name and its authority."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.connection import Connection

from embedded.rabbitmq import RabbitMissing, RabbitServer, server_program
from embedded.redis import free_port
from tasks.transport import broker_ssl, kombu_url
from tests.security.conftest import Certificates


@pytest.fixture(scope="module")
def amqps_port(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    try:
        server_program()
    except RabbitMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    port = free_port()
    lines = (
        f"listeners.ssl.local = 127.0.0.1:{port}",
        f"ssl_options.cacertfile = {certificates.ca}",
        f"ssl_options.certfile = {certificates.certificate}",
        f"ssl_options.keyfile = {certificates.key}",
    )
    directory: Path = tmp_path_factory.mktemp("rabbitmq")
    server = RabbitServer(directory, configuration="\n".join(lines) + "\n")
    server.start()
    yield port
    server.kill()


def test_a_broker_whose_certificate_is_good(amqps_port: int, certificates: Certificates) -> None:
    with connection(f"amqps://127.0.0.1:{amqps_port}//?ssl_ca_certs={certificates.ca}") as broker:
        broker.SimpleQueue("x").put({"a": 1})


@pytest.mark.parametrize(
    "url",
    [
        "amqps://127.0.0.1:{port}//?ssl_ca_certs={stranger}",  # another authority's
        "amqps://127.0.0.1:{port}//",  # not known to this machine
        "amqps://127.1:{port}//?ssl_ca_certs={ca}",  # the same machine, by a name that it was not issued for
    ],
)
def test_no_other_is_spoken_to(amqps_port: int, certificates: Certificates, url: str) -> None:
    address = url.format(port=amqps_port, ca=certificates.ca, stranger=certificates.stranger)
    with connection(address) as broker, pytest.raises(ssl.SSLCertVerificationError):
        broker.ensure_connection(max_retries=1, reraise_as_library_errors=False)


def connection(url: str) -> Connection:
    """As Celery makes it from `broker_url` and `broker_use_ssl`."""
    return Connection(kombu_url(url), ssl=broker_ssl(url))
