"""The command in a process of its own: killed, stopped, misconfigured, behind TLS; and what its log gives away."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from otlp import MAIN, Span, attributes, environment, post, request_of, running, send, span

from support import Answer, StubServer, upserts, wait_until

KEY = "key-for-tests"


def free_port() -> int:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port: int = reserved.getsockname()[1]
        return port


class Sender:
    """Sends batches as the Collector does: what is not acknowledged is sent again, from a bounded number of threads."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._batches: queue.Queue[list[int]] = queue.Queue()
        self.retries = 0

    def send_all(self, spans: int, batch: int) -> None:
        for first in range(1, spans + 1, batch):
            self._batches.put([*range(first, min(first + batch, spans + 1))])
        threads = [threading.Thread(target=self._run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _run(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                numbers = self._batches.get_nowait()
                while not self._is_acknowledged(numbers):
                    self.retries += 1
                    time.sleep(0.05)

    def _is_acknowledged(self, numbers: list[int]) -> bool:
        with contextlib.suppress(OSError):
            return send(self._url, *(span(number, f"span {number}") for number in numbers)).status == 200
        return False


def test_a_gateway_killed_under_load_loses_nothing() -> None:
    """kill -9, several times, while a sender sends and sends again what was not acknowledged."""
    spans = 6_000
    port = free_port()
    with StubServer(latency_seconds=0.05) as server, contextlib.ExitStack() as gateways:

        def start() -> subprocess.Popen[str]:
            arguments = ("--port", str(port))
            process, _ = gateways.enter_context(running(*arguments, env=environment(server.url)))
            return process

        process = start()
        sender = Sender(f"http://127.0.0.1:{port}")
        sending = threading.Thread(target=sender.send_all, args=(spans, 50))
        sending.start()
        for share in (0.2, 0.5):
            wait_until(lambda share=share: len(server.items) > share * spans, 60)  # type: ignore[misc]
            process.kill()
            process.wait()
            process = start()
        sending.join()
        ends = upserts(server.items)
    assert sender.retries
    assert spans == len(ends)
    assert {"end"} == {kind for kinds in ends.values() for kind in kinds}


def test_sigterm_delivers_what_is_queued_and_ends_well() -> None:
    """Accepted spans, too, that nobody waits for any more."""
    with StubServer(latency_seconds=0.2) as server:
        with running("--ack", "accepted", env=environment(server.url)) as (process, url):
            for number in range(1, 41):
                assert send(url, span(number)).status == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        assert 40 == len(server.items)


def test_sigterm_while_sgp_is_away_ends_in_time() -> None:
    """What was accepted, and nobody else has, is said to be lost."""
    arguments = ("--ack", "accepted", "--drain-timeout", "1")
    with (
        StubServer(lambda request: Answer(503)) as server,
        running(*arguments, env=environment(server.url)) as (process, url),
    ):
        assert send(url, span()).status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert "Lost so far: 1 span" in process.stderr.read()  # type: ignore[union-attr]


def test_no_key_no_token_and_no_content_is_ever_logged() -> None:
    """Whatever goes wrong: refused keys, refused tokens, refused spans, an unknown tenant."""
    token = "bearer-for-tests"
    with StubServer(lambda request: Answer(401)) as server:
        secret = Path(os.environ.get("TMPDIR", "/tmp")) / f"token-{os.getpid()}"
        secret.write_text(token)
        arguments = ("--token-file", str(secret), "--ack-timeout", "0.3", "--tenants-from-headers")
        try:
            with running(*arguments, env=environment(server.url)) as (process, url):
                brought = {"x_api_key": "brought-by-request", "x_selected_account_id": "an-account"}
                authorization = f"Bearer {token}"
                assert send(url, span(1, "content"), authorization=authorization, **brought).status == 503
                assert send(url, span(2, "content"), authorization="Bearer wrong-token", **brought).status == 401
                assert send(url, span(3, "content"), authorization=authorization, x_sgp_tenant="nobody").status == 403
                assert send(url, span(4, trace_id=b""), authorization=authorization, **brought).status in (200, 503)
                assert post(url, b"content", authorization=authorization, **brought).status in (400, 503)
                metrics = post(url, b"", path="/metrics", method="GET").body.decode()
                process.send_signal(signal.SIGTERM)
                said = process.communicate(timeout=30)[1] + metrics
        finally:
            secret.unlink()
    assert "refuses the API key" in said
    for hidden in (token, KEY, "brought-by-request", "wrong-token", "content"):
        assert hidden not in said


def test_whoever_sends_nonsense_does_not_fill_the_log() -> None:
    """Libraries warn of every odd value that they are given, and quote it."""
    odd = [
        span(
            number,
            trace_state="content,,=;" * 9,
            flags=0x300,
            parent_span_id=b"12345678",
            attributes=attributes({"": "content", "k": [1, "content", None, {"": {}}]}),
            links=[Span.Link(trace_id=b"1" * 16, span_id=b"1" * 8, attributes=attributes({"": "content"}))],
            status={"code": 1, "message": "content"},
        )
        for number in range(1, 4)
    ]
    with StubServer() as server, running(env=environment(server.url)) as (process, url):
        for number in range(60):
            request = request_of(*odd, resource={"": "content", f"k{number}": ""})
            resource = request.resource_spans[0].resource
            resource.attributes.extend(attributes({"odd": [1, "content", None], "none": None, "map": {"": None}}))
            assert post(url, request.SerializeToString()).status == 200
            assert post(url, b"content").status == 400
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
                connection.sendall(b"content content content content\r\n\r\n")
                connection.recv(4096)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1]
    assert "content" not in said
    assert len(said.splitlines()) < 10


WRONG = [
    (["--tls-cert", "cert.pem"], "--tls-cert and --tls-key belong together"),
    (["--token-file", "/nowhere/token"], "No such file"),
    (["--tenants", "/nowhere/tenants"], "No such file"),
    (["--tls-cert", __file__, "--tls-key", __file__], "PEM"),
    (["--host", "256.0.0.1"], ""),
    (["--kafka", "k:9092", "--kafka-config", "/nowhere/file"], "No such file"),
    (["--kafka", "k:9092", "--group", ""], "--group and --topic must not be empty"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_what_cannot_work_is_said_and_ends_the_command(arguments: list[str], said: str) -> None:
    ended = _run(arguments, environment("http://127.0.0.1:1"))
    assert ended.returncode == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_wrong_setting_of_librdkafka_is_said_without_the_others(tmp_path: Path) -> None:
    pytest.importorskip("confluent_kafka", reason="needs the extra [kafka]")
    config = tmp_path / "librdkafka.conf"
    config.write_text("sasl.username=me\nsasl.password=a secret\nsasl.pasword=another secret\n")
    ended = _run(["--kafka", "k:9092", "--kafka-config", str(config)], environment("http://127.0.0.1:1"))
    assert (1, True) == (ended.returncode, "sasl.pasword" in ended.stderr)
    assert "secret" not in ended.stderr
    config.write_text("no equals sign")
    ended = _run(["--kafka", "k:9092", "--kafka-config", str(config)], environment("http://127.0.0.1:1"))
    assert "line 1: this is not key=value" in ended.stderr


def test_no_account_is_said() -> None:
    ended = _run([], {})
    assert ended.returncode == 1
    assert "api_key" in ended.stderr


def _run(arguments: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, "gateway", "--port", "0", *arguments],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2] / "src"), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = _run(["--port", str(taken.getsockname()[1])], environment("http://127.0.0.1:1"))
    assert (1, True) == (ended.returncode, "in use" in ended.stderr)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that is its own authority."""
    folder = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    return folder


def _https_status(url: str, folder: Path, *, with_certificate: bool) -> int:
    context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    if with_certificate:
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    body = request_of(span()).SerializeToString()
    request = urllib.request.Request(f"{url}/v1/traces", body, {"content-type": "application/x-protobuf"})
    with urllib.request.urlopen(request, timeout=20, context=context) as answer:
        status: int = answer.status
        return status


def test_https_and_certificates_of_senders(certificates: Path) -> None:
    """With --tls-client-ca, only those who have a certificate of that authority get in."""
    files = ("--tls-cert", str(certificates / "cert.pem"), "--tls-key", str(certificates / "key.pem"))
    with StubServer() as server:
        with running(*files, env=environment(server.url)) as (_, url):
            assert url.startswith("https://")
            assert _https_status(url, certificates, with_certificate=False) == 200
        authority = ("--tls-client-ca", str(certificates / "cert.pem"))
        with running(*files, *authority, env=environment(server.url)) as (_, url):
            assert _https_status(url, certificates, with_certificate=True) == 200
            with pytest.raises((urllib.error.URLError, OSError)):
                _https_status(url, certificates, with_certificate=False)
