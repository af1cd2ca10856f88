"""Fills the tables of `docs/mapping.md` from the code: `python tests/mapping/mapping_docs.py` rewrites the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from otel_sgp_exporter._mapping import _facts as facts
from otel_sgp_exporter._mapping import _precedence as precedence
from otel_sgp_exporter._mapping._infra import OUTSIDE_CALL
from otel_sgp_exporter._mapping._privacy import MappingOptions
from otel_sgp_exporter._mapping._reader import Chain, Field
from otel_sgp_exporter._mapping._source import CHAIN, Source
from otel_sgp_exporter._mapping._tidy import MAX_FIELD_CHARACTERS, MAX_TEXT_CHARACTERS

PAGE = Path(__file__).parents[2] / "docs" / "mapping.md"
_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str) -> str:
    """The page with every table between its markers as the code has it."""
    return _BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]]}{block[3]}", page)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _code(texts: Iterable[str], separator: str = ", ") -> str:
    return separator.join(f"`{text}`" for text in texts)


def _types() -> Iterable[tuple[str, str]]:
    for key, types in precedence.KINDS:
        by_type: dict[str, list[str]] = {}
        for value, span_type in types.items():
            by_type.setdefault("*chain*" if span_type == CHAIN else span_type, []).append(value)
        yield f"`{key}`", "; ".join(f"{_code(values)} {span_type}" for span_type, values in by_type.items())
    yield f"`mcp.method.name` is `tools/call`, or any of {_code(sorted(precedence.TOOL_HINTS))}", "CODE_EXECUTION"
    hints = (*sorted(precedence.LLM_HINTS), *(f"{key}<n>" for key in sorted(precedence.LLM_FAMILIES)))
    yield f"any of {_code(hints)}", "COMPLETION"
    yield f"a CLIENT or PRODUCER span with any of {_code(OUTSIDE_CALL)}", "EXTERNAL_ENDPOINT"
    yield "no parent", "TRACER"
    yield "anything else", "STANDALONE"


def _payloads(chains: Mapping[str, tuple[Source, ...]]) -> Iterable[tuple[str, str]]:
    for span_type, chain in chains.items():
        keys = (f"{source.key}<n>" if source.key.endswith(".") else source.key for source in chain)
        yield span_type or "any other", _code(keys, " > ")


def _place(field: Field) -> str:
    return f"`{field.key}`" + "".join(f" `.{step}`" for step in field.path)


def _chains(chains: Mapping[str, Chain]) -> Iterable[tuple[str, str]]:
    return ((name, " > ".join(map(_place, chain.fields))) for name, chain in chains.items())


_FACTS = {
    "`group_id`": facts.GROUP_ID,
    "`metadata.user_id`": facts.USER_ID,
    "`metadata.tags`": facts.TAGS,
    "`metadata.model`": facts.MODEL,
    "`metadata.provider`": facts.PROVIDER,
    "`metadata.finish_reason`": facts.FINISH_REASON,
    "`metadata.time_to_first_token_ms`": facts.TIME_TO_FIRST_CHUNK,
    "`metadata.cache_write_tokens`": facts.CACHE_WRITE,
    "`input.model`": facts.REQUEST_MODEL,
}
_HIDDEN = {
    "`hide_inputs`": MappingOptions(hide_inputs=True).hidden_keys,
    "`hide_outputs`": MappingOptions(hide_outputs=True).hidden_keys,
}
_LIMITS = {
    "characters of one text": MAX_TEXT_CHARACTERS,
    "characters of `input`, of `output`, of `metadata.attributes`": MAX_FIELD_CHARACTERS,
}

TABLES = {
    "types": _table(("attribute", "type"), _types()),
    "inputs": _table(("type", "best first"), _payloads(precedence.INPUTS)),
    "outputs": _table(("type", "best first"), _payloads(precedence.OUTPUTS)),
    "usage": _table(
        ("`output.usage`", "best first"), _chains({f"`{name}`": chain for name, chain in facts.USAGE.items()})
    ),
    "facts": _table(("field", "best first"), _chains(_FACTS)),
    "hidden": _table(("option", "keys that begin with"), ((option, _code(keys)) for option, keys in _HIDDEN.items())),
    "limits": _table(("limit", ""), ((limit, f"{number:,}") for limit, number in _LIMITS.items())),
}

if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
