"""docs/scaling.md and examples/gateway: files that fit together, arguments that are taken, sums that are right."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from otlp import Gateway, settings
from starlette.routing import Route

from otel_sgp_exporter.gateway.settings import add_arguments, settings_of
from otel_sgp_exporter.gateway.tenants import read_tenants

yaml = pytest.importorskip("yaml", reason="needs PyYAML")

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "gateway"
DOCUMENT = (ROOT / "docs" / "scaling.md").read_text()
COLLECTORS = sorted(EXAMPLES.glob("collector-*.yaml"))
MANIFESTS = sorted(EXAMPLES.glob("kubernetes-*.yaml"))
ENDPOINTS = ("/healthz", "/readyz", "/metrics", "/v1/traces")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    add_arguments(made)
    return made


def name_of(path: Path) -> str:
    return path.name


def containers(manifest: Path, image: str) -> Iterator[dict[str, Any]]:
    for document in yaml.safe_load_all(manifest.read_text()):
        pod = document["spec"].get("template", {}).get("spec", {"containers": []})
        yield from (each for each in pod["containers"] if image in each["image"])


@pytest.mark.parametrize("path", COLLECTORS, ids=name_of)
def test_a_collectors_pipelines_are_made_of_what_the_file_defines(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    service = config["service"]
    assert {*service["extensions"]} == {*config["extensions"]}
    [pipeline] = service["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert {*pipeline[kind]} == {*config[kind]}
    stored = [exporter.get("sending_queue", {}).get("storage") for exporter in config["exporters"].values()]
    assert {*filter(None, stored)} <= {*config["extensions"]}


@pytest.mark.parametrize("path", COLLECTORS, ids=name_of)
def test_a_collector_waits_longer_than_the_gateway_and_does_not_give_up(path: Path) -> None:
    """Its time-out is longer than ours, it repeats for ever, and no batch processor forgets spans in a crash."""
    config = yaml.safe_load(path.read_text())
    assert "batch" not in config["processors"]
    for name, exporter in config["exporters"].items():
        if name.startswith("otlphttp"):
            assert float(exporter["timeout"].removesuffix("s")) > parser().parse_args([]).ack_timeout
        if name != "loadbalancing":
            assert exporter["retry_on_failure"]["max_elapsed_time"] == "0s"


def test_the_collectors_topic_and_encoding_are_the_gateways() -> None:
    exporter = yaml.safe_load((EXAMPLES / "collector-kafka.yaml").read_text())["exporters"]["kafka"]
    options = parser().parse_args(["--kafka", "k", "--encoding", exporter["traces"]["encoding"]])
    assert exporter["traces"]["topic"] == options.topic
    assert exporter["partition_traces_by_id"] is True
    assert exporter["include_metadata_keys"] == ["x-sgp-tenant"]


@pytest.mark.parametrize("path", COLLECTORS, ids=name_of)
def test_the_collector_takes_its_file(path: Path) -> None:
    """Where there is one."""
    collector = shutil.which("otelcol-contrib")
    if collector is None:
        pytest.skip("needs otelcol-contrib")
    env = os.environ | {"GATEWAY_URL": "http://gateway:4318", "GATEWAY_TOKEN": "t", "KAFKA_BROKER": "k:9092"}
    subprocess.run([collector, "validate", "--config", str(path)], check=True, env=env)


@pytest.mark.parametrize("path", MANIFESTS, ids=name_of)
def test_the_gateway_takes_the_arguments_of_the_manifest_and_serves_its_probes(path: Path, tmp_path: Path) -> None:
    [container] = containers(path, "otel-sgp-gateway")
    for file in ("token", "librdkafka.conf"):
        (tmp_path / file).write_text("security.protocol=plaintext")
    arguments = [re.sub(r"/(run/secrets/sgp|etc/kafka)/", f"{tmp_path}/", each) for each in container["args"]]
    given = settings_of(parser().parse_args(arguments))
    ports = {port["containerPort"] for port in container["ports"]}
    assert {given.port} == ports
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == given.port
        assert container[probe]["httpGet"]["path"] in ENDPOINTS
    [pod] = [
        document["spec"]["template"]
        for document in yaml.safe_load_all(path.read_text())
        if "template" in document["spec"]
    ]
    assert int(pod["metadata"]["annotations"]["prometheus.io/port"]) == given.port
    assert pod["spec"]["terminationGracePeriodSeconds"] > given.drain_seconds
    mounted = {volume["name"] for volume in container["volumeMounts"]}
    assert mounted <= {volume["name"] for volume in pod["spec"]["volumes"]}


def test_the_tier_sends_to_the_gateway_in_its_own_pod() -> None:
    [container] = containers(EXAMPLES / "kubernetes-tier.yaml", "otel-sgp-gateway")
    exporter = yaml.safe_load((EXAMPLES / "collector-tier.yaml").read_text())["exporters"]["otlphttp/sgp"]
    assert exporter["endpoint"] == f"http://127.0.0.1:{container['ports'][0]['containerPort']}"
    edge = yaml.safe_load((EXAMPLES / "collector-edge.yaml").read_text())["exporters"]["loadbalancing"]
    services = [*yaml.safe_load_all((EXAMPLES / "kubernetes-tier.yaml").read_text())]
    assert edge["resolver"]["dns"]["hostname"] == services[0]["metadata"]["name"]
    assert edge["resolver"]["dns"]["port"] == services[0]["spec"]["ports"][0]["port"]


def test_the_file_of_tenants_is_the_documents_and_can_be_read() -> None:
    written = json.loads((EXAMPLES / "tenants.json").read_text())
    assert written == read_tenants(str(EXAMPLES / "tenants.json"))
    assert written == json.loads(DOCUMENT.partition("```json\n")[2].partition("```")[0])


def test_every_option_and_endpoint_is_in_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGP_API_KEY", "k")
    monkeypatch.setenv("SGP_ACCOUNT_ID", "a")
    for action in parser()._actions:
        for option in action.option_strings:
            if option.startswith("--") and option not in ("--help", "--encoding"):
                assert f"`{option}" in DOCUMENT or f" {option} " in DOCUMENT, option
    with Gateway(settings()) as gateway:
        routes = gateway._uvicorn.config.loaded_app.routes
    assert {*ENDPOINTS} == {route.path for route in routes if isinstance(route, Route)}
    assert all(endpoint in DOCUMENT for endpoint in ENDPOINTS)


def test_defaults_in_the_document_are_the_codes() -> None:
    options = parser().parse_args([])
    assert f"`--ack-timeout` ({options.ack_timeout:g} s)" in DOCUMENT
    assert f"`--drain-timeout` ({options.drain_timeout:g} s)" in DOCUMENT
    assert options.max_body_bytes == 20 * 2**20
    assert "four times `--max-body-bytes`, 20 MiB" in DOCUMENT


def _shown(value: float) -> str:
    digits = f"{value + 1e-9:.1f}" if value < 10 else f"{value:,.0f}"
    return digits.removesuffix(".0")


def test_the_sums_in_the_table_of_sizes_are_right() -> None:
    """From the figures in the text above it."""
    cpu, share, latency, size = (
        float(re.search(pattern, DOCUMENT)[1])  # type: ignore[index]
        for pattern in (r"= S . (\d+) µs", r"µs / ([\d.]+)", r"PUT/s . ([\d.]+) s", r"= S . ([\d.]+) kB")
    )
    rows = re.findall(r"^\| ([\d,]+) \| ((?:[^|]+\|){6}[^|]+) \|$", DOCUMENT, re.MULTILINE)
    assert len(rows) == 5
    for spans_per_second, rest in rows:
        rate = int(spans_per_second.replace(",", ""))
        processes = max(2, math.ceil(rate * cpu * 1e-6 / share))
        disk = rate * size * 3600 / 1e6
        cells = [cell.strip() for cell in rest.split("|")][:6]
        assert cells == [
            f"{processes:,}",
            f"{rate / 200:,.0f}",
            _shown(rate / 200 * latency),
            _shown(rate * size / 1000),
            f"{2 * processes:,}",
            f"{_shown(disk)} GB" if disk < 1000 else f"{_shown(disk / 1000)} TB",
        ]
