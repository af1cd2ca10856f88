"""What in the environment keeps spans from ever being made or sent, however well SGP can be reached."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ._surroundings import variable


def pitfalls(installed: Collection[str], has_distro: bool) -> list[str]:
    """A sentence each. `installed`: names of packages, as `installed()` finds them; `has_distro`: anybody's."""
    if variable("OTEL_CONFIG_FILE"):
        unread = [] if has_distro else ["Nothing here reads OTEL_CONFIG_FILE: install opentelemetry-distro."]
        return [*unread, *_of_the_sampler()]
    return [*_of_the_exporters(installed, has_distro), *_of_the_sampler()]


def _of_the_exporters(installed: Collection[str], has_distro: bool) -> Iterator[str]:
    names = [name.strip() for name in variable("OTEL_TRACES_EXPORTER").split(",")]
    others = [name for name in names if name not in ("sgp", "none", "")]
    if "sgp" not in names:
        if "sgp" in map(str.lower, names):
            yield "OTEL_TRACES_EXPORTER: it is called sgp, in small letters."
        elif any(names):
            yield f"OTEL_TRACES_EXPORTER={','.join(names)} does not name sgp: without configure() SGP gets no spans."
        return
    if "opentelemetry-instrumentation" not in installed:
        yield "opentelemetry-instrument is not installed: pip install 'otel-sgp-exporter[instrument]'."
    elif not has_distro and others:
        yield f"Only sgp will be set up, not {', '.join(others)}: install opentelemetry-distro."
    elif "opentelemetry-distro" in installed and not any(
        name.startswith("opentelemetry-exporter-otlp-proto-") for name in installed
    ):
        wanted = [name for name in _WITH_DEFAULT_OTLP if not variable(name)]
        if wanted:
            yield f"opentelemetry-distro wants an OTLP exporter, unless you set {' and '.join(wanted)} to none."


def _of_the_sampler() -> Iterator[str]:
    if variable("OTEL_TRACES_SAMPLER").lower() in ("always_off", "parentbased_always_off"):
        yield "OTEL_TRACES_SAMPLER says that no span is sampled: unset it."


_WITH_DEFAULT_OTLP = ("OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER")
