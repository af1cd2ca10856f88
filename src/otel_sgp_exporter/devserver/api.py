"""The operations of the span API: bytes in, bytes out or a refusal. No sockets, no waiting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .call import Call
from .cleaning import Cleaner
from .codec import decode
from .counters import Counters
from .finding import Position, Query
from .page import encode_page, position_in
from .parents import check_parents, outside_parents
from .refusal import invalid, problem, refused
from .row import Row, collapse, make_row
from .search import Search, SearchParser, project_filter
from .settings import Settings, StoreName
from .store import Store
from .validation import Span, Validator

_PATCHABLE = ("name", "end_timestamp", "output", "metadata", "status")


class SpanApi:
    """The span API of every account; `search` belongs to the reading thread, all else to the writing one."""

    def __init__(self, settings: Settings, store: Store, counters: Counters) -> None:
        self._settings = settings
        self._store = store
        self._counters = counters
        self._cleaner = Cleaner(settings)
        self._validator = Validator(settings)
        self._search_parser = SearchParser(settings)

    def upsert_batch(self, call: Call) -> bytes:
        """PUT /v5/spans/batch"""
        return _list(self._write(call.account, self._batch(call.body)))

    def create_batch(self, call: Call) -> bytes:
        """POST /v5/spans/batch"""
        spans = self._batch(call.body)
        self._check_new(call.account, spans)
        return _list(self._write(call.account, spans))

    def create(self, call: Call) -> bytes:
        """POST /v5/spans"""
        span = self._validator.one(decode(call.body))
        self._check_new(call.account, [span])
        return self._write(call.account, [span])[0]

    def update(self, call: Call) -> bytes:
        """PATCH /v5/spans/{id}"""
        if self._settings.stores != ("legacy",):
            raise refused(501, "Spans of this account are upsert-only: use PUT /v5/spans/batch")
        changes = decode(call.body)
        if not isinstance(changes, dict):
            raise invalid([problem("model_attributes_type", ("body",), "Input should be a valid dictionary", changes)])
        stored = decode(self.retrieve(call))
        given = {field: changes[field] for field in _PATCHABLE if field in changes}
        return self._write(call.account, [self._validator.one({**stored, **given})])[0]

    def retrieve(self, call: Call) -> bytes:
        """GET /v5/spans/{id}"""
        document = self._store.get(self._settings.primary, call.account, call.span_id)
        if document is not None:
            return document
        if self._store.exists(self._settings.primary, call.span_id):
            raise refused(self._settings.unreadable_trace_status, "Not authorized to read the span's trace")
        raise refused(404, f"Span {call.span_id} not found")

    def search(self, call: Call) -> bytes:
        """POST /v5/spans/search"""
        settings, finder = self._settings, self._store.finder
        search = self._search_parser.parse(call.params, decode(call.body))
        query = search.query
        if settings.project_scoping == "on" and call.project is not None:
            query.filters["project"] = project_filter(call.project)
        self._check_breadth(call.account, search)
        if search.cursor is not None:
            query.beyond = self._position(call.account, search.cursor, query)
        if search.allow_partial and settings.search_row_budget is not None:
            query.until = finder.reach(settings.primary, call.account, query, settings.search_row_budget)
        query.limit += 1
        found = finder.search(settings.primary, call.account, query)
        query.limit -= 1
        return encode_page(found, search, settings)

    def _batch(self, body: bytes) -> list[Span]:
        decoded = decode(body)
        items = decoded.get("items") if isinstance(decoded, dict) else None
        self._counters.batch_sizes[len(items) if isinstance(items, list) else 0] += 1
        return self._validator.batch(decoded)

    def _check_new(self, account: str, spans: list[Span]) -> None:
        ids = [span["id"] for span in spans]
        if self._settings.primary == "legacy":
            existing = self._store.legacy_traces(self._scope(account), ids)
            if existing or len(set(ids)) < len(ids):
                raise refused(self._settings.duplicate_post_status, "A span with this id already exists")

    def _write(self, account: str, spans: list[Span]) -> list[bytes]:
        """The documents as the primary store keeps them; refused before any store is written."""
        self._cleaner.check_ids(spans)
        stored: Mapping[str, str] = {}
        if "legacy" in self._settings.stores:
            stored = self._store.legacy_traces(self._scope(account), outside_parents(spans))
        check_parents(spans, stored)
        writes = {
            store: collapse((self._row(span, account, store) for span in spans), store)
            for store in self._settings.stores
        }
        self._store.upsert(writes)
        return [write.row.document for write in writes[self._settings.primary]]

    def _row(self, span: Span, account: str, store: StoreName) -> Row:
        row = make_row(span, account, store, self._settings)
        if self._cleaner.may_change(row.document):
            self._cleaner.clean(span)
            row = make_row(span, account, store, self._settings)
        return row

    def _scope(self, account: str) -> str:
        return account if self._settings.legacy_id_scope == "account" else ""

    def _check_breadth(self, account: str, search: Search) -> None:
        """Refuse a text term that too many of the rows match which are left by the other filters."""
        most = self._settings.broad_term_rows
        others = {name: value for name, value in search.query.filters.items() if name != "texts"}
        if most is None or not search.single_terms or self._count(account, others, most + 1) <= most:
            return
        for term in search.single_terms:
            if self._count(account, {**others, "texts": term}, most + 1) > most:
                raise refused(400, f"QUERY_TOO_BROAD: a term matches more than {most} spans, narrow the search")

    def _count(self, account: str, filters: dict[str, Any], most: int) -> int:
        return self._store.finder.count(self._settings.primary, account, filters, most)

    def _position(self, account: str, cursor: str, query: Query) -> Position:
        position = position_in(cursor) or self._store.finder.position(self._settings.primary, account, cursor, query)
        if position is None:
            raise refused(self._settings.bad_cursor_status, f"Cursor {cursor} not found")
        return position


def _list(documents: list[bytes]) -> bytes:
    return b'{"object":"list","items":[' + b",".join(documents) + b"]}"
