"""What docs/zero-code.md says that the log says, provoked: real refusals, real networks that fail."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from support import Answer, StubServer, settings, wait_until

PAGE = (Path(__file__).parent.parent / "docs" / "zero-code.md").read_text()


@contextmanager
def sending_to(url: str) -> Iterator[None]:
    """A span is on its way there."""
    exporter = SGPSpanExporter(**settings(url), timeout_millis=500)
    processor = ConcurrentBatchSpanProcessor(exporter, schedule_delay_millis=1)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    provider.get_tracer("t").start_span("s").end()
    yield
    processor.shutdown(0)


def assert_said_as_documented(message: str, caplog: pytest.LogCaptureFixture) -> None:
    """`message` stands on the page, and in the log with anything for its dots."""
    assert f"`{message}`" in PAGE
    pattern = ".*".join(re.escape(piece.strip()) for piece in message.split("..."))
    wait_until(lambda: re.search(pattern, caplog.text) is not None)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (301, "SGP is not at this address: ... (HTTP 301 ...)"),
        (404, "SGP is not at this address: ... (HTTP 404 ...)"),
        (401, "SGP refuses the API key or the account: ... (HTTP 401 ...)"),
    ],
)
def test_a_refusal(caplog: pytest.LogCaptureFixture, status: int, message: str) -> None:
    """The cause is in the line, with what the server said."""
    refusal = Answer(status, {"location": "https://elsewhere/"}, b'{"detail":"no"}')
    with StubServer(lambda request: refusal) as server, sending_to(server.url):
        assert_said_as_documented(message, caplog)


def test_no_such_host(caplog: pytest.LogCaptureFixture) -> None:
    """Resolvers differ in words."""
    try:
        socket.getaddrinfo("no-such-host.invalid", 80)
    except socket.gaierror as error:
        if "Name or service not known" not in str(error):
            pytest.skip(f"here it is called: {error}")
    with sending_to("http://no-such-host.invalid"):
        assert_said_as_documented("SGP takes no spans at the moment ... Name or service not known", caplog)


def test_nobody_answers(caplog: pytest.LogCaptureFixture) -> None:
    """As behind a firewall that drops packets: the connection is made, and then there is silence."""
    with socket.create_server(("127.0.0.1", 0)) as silent, sending_to(f"http://127.0.0.1:{silent.getsockname()[1]}"):
        assert_said_as_documented("... timed out", caplog)


def test_a_proxy_that_wants_a_name(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The answer of the proxy to what asks for a tunnel."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        with sending_to("https://sgp.example"):
            connection, _ = proxy.accept()
            with connection:
                assert connection.recv(4096).startswith(b"CONNECT sgp.example:443 ")
                connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            assert_said_as_documented("... 407 Proxy Authentication Required", caplog)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """One for 127.0.0.1 that nobody has signed, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    paths = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = f"req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=sgp -out {paths[0]} -keyout {paths[1]}"
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([openssl, *command.split(), *names], check=True, capture_output=True, timeout=60)
    return paths


def test_tls_with_a_certificate_that_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, certificate: tuple[Path, Path]
) -> None:
    """As of a proxy that ends TLS; and what the page says mends it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with StubServer() as server:
        server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
        url = server.url.replace("http:", "https:")
        with sending_to(url):
            assert_said_as_documented("... CERTIFICATE_VERIFY_FAILED", caplog)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        with sending_to(url):
            wait_until(lambda: len(server.items) == 2)
