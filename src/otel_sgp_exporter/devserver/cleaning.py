"""What the service does to text before it keeps it: redacts credentials, replaces what its database cannot hold."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .refusal import refused
from .settings import Settings
from .validation import FREE_FORM, Span

REDACTED = "[REDACTED:credential]"
ID_FIELDS = ("trace_id", "id", "parent_id", "group_id")

_PLAIN_TEXT = ("application_interaction_id", "application_variant_id", "obs_trace_id", "obs_span_id")
_ID_BYTES = 256
_SURROGATE = re.compile("[\ud800-\udfff]")


class Cleaner:
    """Applies both to spans under one set of settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        patterns, self._names = settings.redaction_patterns, settings.redaction_names
        if settings.redaction == "off":
            patterns, self._names = (), ()
        self._patterns = [(marker, re.compile(pattern)) for marker, pattern in patterns]
        # A NUL as JSON writes it, and the first byte of a surrogate.
        self._markers = [b"\\u0000", b"\xed", *(marker.encode() for marker, _ in patterns)]
        self._name_markers = [name.encode() for name in self._names]

    def check_ids(self, spans: Iterable[Span]) -> None:
        """Refuse the batch with 400 when an id is one that the primary store cannot keep as it is."""
        for span in spans:
            for field in ID_FIELDS:
                value = span[field] or ""
                if self._unholdable(value):
                    raise refused(400, f"{field} must not contain NUL bytes or invalid UTF-8")
                if self._settings.tracing_is_primary and len(value.encode("utf-8", "replace")) > _ID_BYTES:
                    raise refused(400, f"{field} must be at most {_ID_BYTES} bytes")

    def may_change(self, document: bytes) -> bool:
        """False when `clean` is certain to leave the span of this JSON as it is: looking there is much faster."""
        if any(marker in document for marker in self._markers):
            return True
        lowered = document.lower()
        return any(name in lowered for name in self._name_markers)

    def clean(self, span: Span) -> None:
        """Change the text fields in place; ids are as they were, `check_ids` saw to them."""
        span["name"] = self._text(span["name"])
        for field in _PLAIN_TEXT:
            span[field] = self._held(span[field] or "") or span[field]
        for field in FREE_FORM:
            span[field] = self._value(span[field])

    def _unholdable(self, text: str) -> bool:
        if "\0" in text and not self._settings.stores_nul:
            return True
        return not text.isascii() and _SURROGATE.search(text) is not None

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {self._held(key): self._member(key, item) for key, item in value.items()}
        return [self._value(item) for item in value] if isinstance(value, list) else value

    def _member(self, key: str, value: Any) -> Any:
        return REDACTED if value is not None and self._is_credential(key.lower()) else self._value(value)

    def _is_credential(self, key: str) -> bool:
        """Whether the key is one of the names, or ends in one as a word of its own."""
        return any(key.endswith(name) and not key[: -len(name)][-1:].isalpha() for name in self._names)

    def _text(self, text: str) -> str:
        for marker, pattern in self._patterns:
            if marker in text:
                text = pattern.sub(REDACTED, text)
        return self._held(text)

    def _held(self, text: str) -> str:
        if self._unholdable(text):
            text = _SURROGATE.sub("\ufffd", text)
            return text if self._settings.stores_nul else text.replace("\0", "\ufffd")
        return text
