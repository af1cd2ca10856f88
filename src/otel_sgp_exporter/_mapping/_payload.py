"""The input and the output of a span: the best source of its type, in the shape of its type."""

from __future__ import annotations

from typing import Any, NamedTuple

from otel_sgp_exporter._mapping._explicit import INPUT, OUTPUT
from otel_sgp_exporter._mapping._facts import FINISH_REASON, REQUEST_MODEL
from otel_sgp_exporter._mapping._genai import REQUEST_PARAMETERS
from otel_sgp_exporter._mapping._layout import Layout
from otel_sgp_exporter._mapping._openinference import INVOCATION_PARAMETERS
from otel_sgp_exporter._mapping._precedence import ANY, INPUT_COPIES, INPUTS, OUTPUT_COPIES, OUTPUTS, TOOLS
from otel_sgp_exporter._mapping._reader import REDACTED, Reader, dig, text
from otel_sgp_exporter._mapping._shapes import (
    INPUT_SHAPES,
    OUTPUT_SHAPES,
    Payload,
    Shape,
    any_input,
    any_output,
    wrapped,
)
from otel_sgp_exporter._mapping._source import Source, Sources

# Named beside the parameters already, or a copy of the conversation.
_NOT_PARAMETERS = frozenset({"model", "model_name", "tools", "functions", "messages", "input", "instructions"})


class Found(NamedTuple):
    """A payload and the key that it was taken from."""

    key: str
    payload: Payload


class Side(NamedTuple):
    """What tells inputs from outputs: the member, the user's override, the sources, the shapes, the repetitions."""

    member: str
    explicit: str
    sources: dict[str, Sources]
    shapes: dict[str, Shape]
    any_shape: Shape
    copies: tuple[str, ...]


def _by_type(chains: dict[str, tuple[Source, ...]]) -> dict[str, Sources]:
    return {span_type: Sources(chain) for span_type, chain in chains.items()}


_INPUT = Side("input", INPUT, _by_type(INPUTS), INPUT_SHAPES, any_input, INPUT_COPIES)
_OUTPUT = Side("output", OUTPUT, _by_type(OUTPUTS), OUTPUT_SHAPES, any_output, OUTPUT_COPIES)
_TOOLS = Sources(TOOLS)


def read_input(reader: Reader, span_type: str, hidden: bool) -> Found | None:
    """What the span was given; None when it does not say. Hidden, a marker that there was something."""
    found = _read(reader, span_type, hidden, _INPUT)
    if found and span_type == "COMPLETION" and found.key != INPUT and not hidden:
        return Found(found.key, _complete_request(reader, found.payload))
    return found


def read_output(reader: Reader, span_type: str, hidden: bool) -> Found | None:
    """What came of the span, without usage; otherwise like `read_input`."""
    found = _read(reader, span_type, hidden, _OUTPUT)
    if found and span_type == "COMPLETION" and found.key != OUTPUT and "content" in found.payload:
        reasons = finish_reasons(reader)
        if reasons and len(reasons) == 1:
            found.payload.setdefault("finish_reason", reasons[0])
    return found


def finish_reasons(reader: Reader) -> tuple[str, ...] | None:
    """Why the model stopped, once for each choice."""
    return reader.first(FINISH_REASON, texts)


def known_model(value: Any) -> str | None:
    """For `Reader.first`: a model's name; some instrumentations write `unknown` for want of one."""
    return None if value == "unknown" else text(value)


def _read(reader: Reader, span_type: str, hidden: bool, side: Side) -> Found | None:
    sources = (side.sources.get(span_type) or side.sources[ANY]).present(reader)
    found: Found | None
    if side.explicit in reader.keys and reader.has(side.explicit):
        reader.use((side.explicit,))
        found = Found(side.explicit, wrapped(side.member, reader.value(side.explicit)))
    else:
        found = _pick(reader, sources, side.shapes.get(span_type, side.any_shape)) if sources else None
    if found is None:
        return None
    reader.use(side.copies)
    reader.use(source.key for source in sources if source.is_copy)
    return Found(found.key, {side.member: REDACTED}) if hidden else found


def _pick(reader: Reader, sources: list[Source], shape: Shape) -> Found | None:
    # A marker says that the user hid the payload: no other key may give it away. A list without its beginning yields to
    # any whole payload.
    if len(sources) > 1:
        sources.sort(key=lambda source: (reader.get(source.key) != REDACTED, reader.is_cut(source.key)))
    for source in sources:
        value = source.read(reader, source.key)
        payload = None if value is None else shape(value)
        reader.use((source.key,))
        if payload is not None:
            reader.cut |= reader.is_cut(source.key)
            return Found(source.key, payload)
    return None


def _complete_request(reader: Reader, payload: Payload) -> Payload:
    request = {
        "model": reader.first(REQUEST_MODEL, known_model),
        **payload,
        "tools": _tools(reader, payload.get("tools")),
        "parameters": _parameters(reader) or payload.get("parameters"),
    }
    return {name: value for name, value in request.items() if value}


def _tools(reader: Reader, requested: Any) -> Any:
    sources = _TOOLS.present(reader)
    reader.use(source.key for source in sources)
    tools = sources[0].read(reader, sources[0].key) if sources else requested
    if not isinstance(tools, (list, tuple)):
        return tools
    return [dig(tool, ("function",)) or tool for tool in tools]


def _parameters(reader: Reader) -> dict[str, Any]:
    found = dict(reader.mapping(INVOCATION_PARAMETERS))
    if found:
        reader.use((INVOCATION_PARAMETERS,))
    for key in reader.layout[_requested]:
        found.setdefault(key[len(REQUEST_PARAMETERS) :], reader.get(key))
        reader.use((key,))
    return {name: value for name, value in found.items() if value is not None and name not in _NOT_PARAMETERS}


def _requested(layout: Layout) -> list[str]:
    return [key for key in layout.present if key.startswith(REQUEST_PARAMETERS) and key != f"{REQUEST_PARAMETERS}model"]


def texts(value: Any) -> tuple[str, ...] | None:
    """For `Reader.first`: a text or several, without empty ones."""
    found = value if isinstance(value, (list, tuple)) else (value,)
    return tuple(item for item in found if isinstance(item, str) and item) or None
