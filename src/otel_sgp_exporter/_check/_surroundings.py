"""What else is installed, as far as spans are concerned, and where instrumentations leave content out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, distributions, entry_points
from typing import NamedTuple

from .._config import Setting, resolve

_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_SHOWN = ("opentelemetry-api", "opentelemetry-sdk", "opentelemetry-distro", "opentelemetry-configuration")
_SHOWN_BEGINNINGS = (
    "opentelemetry-instrumentation",
    "openinference-instrumentation",
    "opentelemetry-exporter-otlp-proto-",
    "langsmith",
)
_VENDORS = ("logfire", "langfuse", "traceloop-sdk", "arize-phoenix-otel", "arize-otel", "scale-gp-beta")


class Installed(NamedTuple):
    """A package; `hint` says how to see prompts and answers where they are left out."""

    name: str
    version: str
    hint: str = ""


def installed() -> list[Installed]:
    """The SDK, instrumentations and vendors of this environment, by name."""
    return sorted(set(_found()))


def has_distro() -> bool:
    """Whether `opentelemetry-instrument` finds somebody, OpenTelemetry or a vendor, who sets the SDK up."""
    return bool(entry_points(group="opentelemetry_configurator"))


def _found() -> Iterator[Installed]:
    for distribution in distributions():
        name = (distribution.metadata["Name"] or "").lower().replace("_", "-")
        if name in _SHOWN or name in _VENDORS or name.startswith(_SHOWN_BEGINNINGS):
            yield Installed(name, distribution.version, _hint(name, distribution))


def _hint(name: str, distribution: Distribution) -> str:
    needs = " ".join(distribution.requires or ())
    for is_of, hint in _FAMILIES:
        if is_of(name, needs):
            return hint()
    return ""


def _genai_hint() -> str:
    chosen = _variable(_CAPTURE)
    if chosen in ("span_only", "span_and_event"):
        return ""
    where = "is left out" if chosen in ("", "false", "no_content") else "goes into logs, not into spans"
    return f"content {where}: set {_CAPTURE}=span_only"


def _openllmetry_hint() -> str:
    off = _variable("TRACELOOP_TRACE_CONTENT") == "false"
    return "content is left out: unset TRACELOOP_TRACE_CONTENT" if off else ""


def _openinference_hint() -> str:
    variables = ("OPENINFERENCE_HIDE_INPUTS", "OPENINFERENCE_HIDE_OUTPUTS")
    hiding = [variable for variable in variables if _variable(variable) == "true"]
    return f"content is left out: unset {' and '.join(hiding)}" if hiding else ""


def _langsmith_hint() -> str:
    off = _variable("LANGSMITH_OTEL_ENABLED") != "true"
    return "makes no OpenTelemetry spans: set LANGSMITH_OTEL_ENABLED=true and LANGSMITH_TRACING=true" if off else ""


def variable(name: str) -> str:
    """What the environment says, without spaces around it; empty when unset."""
    return str(resolve(Setting(name, (name,), "", str, "")).value)


def _variable(name: str) -> str:
    return variable(name).lower()


# Two makers use one prefix for their packages; what the package needs tells them apart.
_FAMILIES: tuple[tuple[Callable[[str, str], bool], Callable[[], str]], ...] = (
    (lambda name, needs: name == "langsmith", _langsmith_hint),
    (lambda name, needs: name.startswith("openinference-"), _openinference_hint),
    (lambda name, needs: "opentelemetry-semantic-conventions-ai" in needs, _openllmetry_hint),
    (lambda name, needs: "opentelemetry-util-genai" in needs or name.endswith(("-v2", "-vertexai")), _genai_hint),
)
