"""What one gateway process carries, and its CPU time per span, against the same spans exported directly."""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from backend import Backend
from contenders import ours
from harness import Figures, against, alone, percentile, repeated
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from sizes import Sizes
from tables import Section

LATENCY_MILLIS = 150
BATCH = 512  # the default of OpenTelemetry's batch processors
SENDERS = 8
DIRECT, PROTOBUF, JSON = "direct, ENDs only", "through the gateway, protobuf", "through the gateway, JSON"
MAIN = "from otel_sgp_exporter._cli import main; raise SystemExit(main())"


def spans(count: int) -> list[ReadableSpan]:
    """Calls of a model, eight to a trace, with a prompt and an answer of 1 KB."""
    resource = Resource({"service.name": "agent", "service.version": "1.2.3", "deployment.environment.name": "bench"})
    scope = InstrumentationScope("an.instrumentation", "1.0")
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "word " * 100}]}])
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "a-model",
        "gen_ai.response.model": "a-model-2026",
        "gen_ai.input.messages": messages,
        "gen_ai.output.messages": messages.replace("user", "assistant"),
        "gen_ai.usage.input_tokens": 120,
        "gen_ai.usage.output_tokens": 100,
        "gen_ai.response.finish_reasons": ("stop",),
        "server.address": "api.example.com",
    }
    return [_span(number, resource, scope, attributes) for number in range(1, count + 1)]


def _span(number: int, resource: Resource, scope: InstrumentationScope, attributes: dict[str, object]) -> ReadableSpan:
    trace_id = (1 << 100) + number // 8
    return ReadableSpan(
        name="chat a-model",
        context=SpanContext(trace_id, number, is_remote=False, trace_flags=TraceFlags(1)),
        parent=None if number % 8 == 1 else SpanContext(trace_id, number - number % 8 + 1, is_remote=False),
        resource=resource,
        attributes={**attributes, "number": number},  # type: ignore[arg-type]
        kind=SpanKind.CLIENT,
        start_time=1_700_000_000_000_000_000 + number,
        end_time=1_700_000_001_000_000_000 + number,
        instrumentation_scope=scope,
    )


def requests(count: int, encoding: str) -> list[bytes]:
    """The same spans as an OTLP exporter would send them."""
    from google.protobuf import json_format
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    made = spans(count)
    encoded = [encode_spans(made[first : first + BATCH]) for first in range(0, count, BATCH)]
    if encoding == PROTOBUF:
        return [each.SerializeToString() for each in encoded]
    return [json.dumps(_with_hex(json_format.MessageToDict(each))).encode() for each in encoded]


def _with_hex(request: dict[str, object]) -> object:
    import base64

    def hexed(value: object) -> object:
        if isinstance(value, dict):
            return {
                key: base64.b64decode(item).hex() if key in ("traceId", "spanId", "parentSpanId") else hexed(item)
                for key, item in value.items()
            }
        return [hexed(item) for item in value] if isinstance(value, list) else value

    return hexed(request)


@contextmanager
def gateway(sgp_url: str) -> Iterator[str]:
    """`otel-sgp gateway` in a process of its own; its URL."""
    settings = {"ENDPOINT": sgp_url, "API_KEY": "key", "ACCOUNT_ID": "account"}
    given = {f"OTEL_EXPORTER_SGP_{name}": value for name, value in settings.items()}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SGP_"))}
    command = [sys.executable, "-c", MAIN, "gateway", "--port", "0", "--ack-timeout", "120"]
    process = subprocess.Popen(command, env=clean | given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().partition("metrics at ")[2].partition("/readyz")[0]
    finally:
        process.kill()
        process.communicate()


def send(url: str, bodies: Sequence[bytes], content_type: str) -> tuple[float, list[float]]:
    """Seconds for all of them from several senders, and those of each request."""
    waiting, took = iter(bodies), []
    parts = urlsplit(url)
    lock = threading.Lock()

    def sender() -> None:
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=120)
        while True:
            with lock:
                body = next(waiting, None)
            if body is None:
                return
            began = time.monotonic()
            connection.request("POST", "/v1/traces", body, {"content-type": content_type})
            answer = connection.getresponse()
            assert answer.status == 200, (answer.status, answer.read())
            answer.read()
            took.append(time.monotonic() - began)

    threads = [threading.Thread(target=sender) for _ in range(SENDERS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began, took


def cpu_seconds(url: str) -> float:
    """Of the gateway's process, as it says itself."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        text = answer.read().decode()
    return float(text.partition("\nsgp_gateway_cpu_seconds_total ")[2].split()[0])


def through(encoding: str, count: int) -> Figures:
    bodies = requests(count, encoding)
    content_type = "application/json" if encoding == JSON else "application/x-protobuf"
    with Backend("--latency", f"fixed:{LATENCY_MILLIS}") as backend, gateway(backend.url) as url:
        send(url, bodies[:1], content_type)  # connections are open, and all code is loaded
        before = cpu_seconds(url)
        seconds, took = send(url, bodies, content_type)
        cpu = cpu_seconds(url) - before
        seen = backend.stop()
    return {
        "spans/s": count / seconds,
        "cpu": cpu / count * 1e6,
        "p50": percentile(took, 0.5) * 1000,
        "p95": percentile(took, 0.95) * 1000,
        "complete": seen.ends - min(count, BATCH),
        "body": sum(map(len, bodies)) / count,
    }


def offer(url: str, count: int) -> tuple[float, float]:
    """In a child: seconds and CPU seconds from the first span's end to the last one's delivery."""
    driver = ours(start_delay_millis="off", max_queue_size=2 * count, max_queue_bytes=1 << 30).make(url)
    made = spans(count)
    began, cpu = time.monotonic(), time.process_time()
    for span in made:
        driver.processor.on_end(span)  # type: ignore[attr-defined]
    driver.processor.force_flush(120_000)  # type: ignore[attr-defined]
    took = time.monotonic() - began, time.process_time() - cpu
    driver.stop(10)
    return took


def direct(count: int) -> Figures:
    (seconds, cpu), seen = against(("--latency", f"fixed:{LATENCY_MILLIS}"), offer, count)
    return {
        "spans/s": count / seconds,
        "cpu": cpu / count * 1e6,
        "p50": float("nan"),
        "p95": float("nan"),
        "complete": seen.ends,
        "body": float("nan"),
    }


def run(sizes: Sizes) -> Section:
    count = sizes.spans

    def measure(way: str) -> Figures:
        return direct(count) if way == DIRECT else through(way, count)

    found = repeated((DIRECT, PROTOBUF, JSON), sizes.repetitions, measure)
    columns = ("spans/s", "cpu", "p50", "p95", "complete", "body")
    return Section(
        "The gateway",
        f"{count:,} calls of a model with 1 KB of messages, flat out, in requests of {BATCH} spans from {SENDERS} "
        f"senders; SGP takes {LATENCY_MILLIS} ms. A request is answered when SGP has taken all of its spans. "
        "*CPU*: of the gateway's process, or of the exporting one without what makes the spans.",
        ("", "spans/s", "CPU µs per span", "answer p50 ms", "p95 ms", "complete", "OTLP bytes per span"),
        [(way, *(found[way][column] for column in columns)) for way in found],
        {},
    )


if __name__ == "__main__":
    alone(run)
