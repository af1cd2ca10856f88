"""What to show: the spans that a search finds, by trace, until each trace has settled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx

from ._tree import Span, is_open

_PAGE_SPANS = 1000
_MOST_EXCLUDED = 9000  # a search takes 10,000 ids
_SETTLE_SECONDS = 3.0


class Refused(Exception):  # noqa: N818 - the server's answer, in a sentence
    """Asking again would be answered the same."""


class Watch:
    """The traces that began at `since` or later, read anew with every poll until they have settled.

    A trace settles when no span of it is open and nothing of it has changed for a while; it is not read again.
    """

    def __init__(self, client: httpx.Client, since: datetime) -> None:
        self._client = client
        self._since = since
        self._settled: dict[str, None] = {}
        self._changed: dict[str, tuple[Any, float]] = {}

    def poll(self, now_seconds: float) -> tuple[list[list[Span]], list[list[Span]]]:
        """The traces that have settled since the last poll, and those that have not; the oldest first.

        Raises Refused, or httpx.HTTPError when the server cannot be asked now.
        """
        traces: dict[str, list[Span]] = defaultdict(list)
        for span in self._search():
            if span["trace_id"] not in self._settled:
                traces[span["trace_id"]].append(span)
        settled, live = [], []
        for trace_id, spans in traces.items():
            seen = sorted((span["id"], span["end_timestamp"] or "") for span in spans)
            before, since_seconds = self._changed.get(trace_id, (None, now_seconds))
            if before != seen:
                self._changed[trace_id] = (seen, now_seconds)
            elif not any(map(is_open, spans)) and now_seconds - since_seconds >= _SETTLE_SECONDS:
                self._settled[trace_id] = None
                del self._changed[trace_id]
                settled.append(spans)
                continue
            live.append(spans)
        return settled, live

    def _search(self) -> Iterator[Span]:
        query: dict[str, str | int | bool] = {
            "from_ts": self._since.isoformat(),
            "sort_by": "start_timestamp",
            "limit": _PAGE_SPANS,
            "allow_partial_results": True,
        }
        wanted = {"excluded_trace_ids": list(self._settled)[-_MOST_EXCLUDED:]}
        while True:
            reply = self._client.post("/v5/spans/search", params=query, json=wanted)
            if reply.status_code in (408, 425, 429) or reply.status_code >= 500:
                reply.raise_for_status()
            if reply.status_code != 200:
                raise Refused(f"{self._client.base_url} answered {reply.status_code}: {reply.text[:200]}")
            page = reply.json()
            yield from page["items"]
            # A page may be short, even empty, and have a cursor to what the server did not get to.
            cursor = page.get("next_cursor") or (page["items"] and page["items"][-1]["id"])
            if not page["has_more"] or not cursor:
                return
            query["starting_after"] = cursor
