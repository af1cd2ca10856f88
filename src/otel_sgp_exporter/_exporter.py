"""The SpanExporter: sends ENDs and blocks, for the stock processors and for whoever calls `export`."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ._config import MAX_BATCH_RECORDS, ExporterConfig
from ._delivery import Delivery, Returned, Settled, Terms
from ._latch import Latch
from ._mapping import MappingOptions
from ._outcome import DELIVERED
from ._parse import function
from ._record import END, Record, snapshot
from ._spool import Spool
from ._transport import HttpTransport, untraced
from ._version import __version__
from ._wire import Encoder, Redactor

_logger = logging.getLogger(__package__)

USER_AGENT = f"otel-sgp-exporter/{__version__} Python/{platform.python_version()}"


class SGPSpanExporter(SpanExporter):
    """Exports ended spans to Scale GenAI Platform, and is what `ConcurrentBatchSpanProcessor` delivers through.

    Under a stock `BatchSpanProcessor` or `SimpleSpanProcessor` it sends the END of each span, one request at a time,
    with the same retries and repairs. Any number of threads may call `export`.

    Args:
        endpoint: Base URL of the SGP API.
        api_key: Sent as `x-api-key`; a callable is asked again after a 401.
        account_id: Sent as `x-selected-account-id`.
        headers: More request headers.
        timeout_millis: Deadline of one request, connecting included.
        max_request_bytes: Largest request body.
        compression: `"none"` or `"gzip"`.
        hide_inputs: Leave out what spans were given.
        hide_outputs: Leave out what spans returned.
        remote_parent: Which parents in other processes to link: `"auto"` those marked as exported to SGP, `"link"`
            all, `"root"` none.
        redact: Sees each finished item and returns what to send. When it raises, the item goes without its content.
        export_timeout_millis: Budget of one `export`, retries included.

    Each but `redact` falls back to a variable (see the README).

    Raises:
        ValueError: An argument is wrong, or there is no API key or account; the text names the field.
    """

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        api_key: str | Callable[[], str] | None = None,
        account_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_millis: float | None = None,
        max_request_bytes: int | None = None,
        compression: str | None = None,
        hide_inputs: bool | None = None,
        hide_outputs: bool | None = None,
        remote_parent: str | None = None,
        redact: Redactor | None = None,
        export_timeout_millis: float | None = None,
    ) -> None:
        self.config = ExporterConfig.from_env(
            endpoint=endpoint,
            api_key=api_key,
            account_id=account_id,
            headers=headers,
            timeout_millis=timeout_millis,
            max_request_bytes=max_request_bytes,
            compression=compression,
            hide_inputs=hide_inputs,
            hide_outputs=hide_outputs,
            remote_parent=remote_parent,
            export_timeout_millis=export_timeout_millis,
        )
        self._shut_down = Latch()
        self.delivery = Delivery(
            HttpTransport(self.config, USER_AGENT),
            Encoder(
                MappingOptions(self.config.hide_inputs, self.config.hide_outputs, self.config.remote_parent),
                function("redact", redact),
            ),
            request_seconds=self.config.timeout_millis / 1000,
            max_request_bytes=self.config.max_request_bytes,
        )

    def spool_in(self, directory: str | os.PathLike[str]) -> Spool:
        """The spool for what this exporter could not deliver."""
        return Spool(directory, endpoint=self.config.endpoint, account_id=self.config.account_id)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the END of each span and wait. FAILURE when any of them was not delivered."""
        if self._shut_down.is_set():
            _logger.warning("%d spans are dropped: the exporter is shut down", len(spans))
            return SpanExportResult.FAILURE
        records = [record for span in spans if (record := snapshot(END, span)) is not None]
        give_up_at = self.delivery.clock() + self.config.export_timeout_millis / 1000
        terms = Terms(
            deadline=lambda: self.delivery.clock() if self._shut_down.is_set() else give_up_at,
            wait=self._shut_down.wait,
        )
        batches = [records[at : at + MAX_BATCH_RECORDS] for at in range(0, len(records), MAX_BATCH_RECORDS)]
        with untraced():
            failures = [why for batch in batches if (why := self._deliver(batch, terms)) is not None]
        if not failures:
            return SpanExportResult.SUCCESS
        _logger.error("Spans were not exported: %s", failures[0])
        return SpanExportResult.FAILURE

    def _deliver(self, records: Sequence[Record], terms: Terms) -> str | None:
        """Deliver all of `records`; what kept one of them from it, or None."""
        failure = None
        while records:
            returned: Sequence[Record] = ()
            for event in self.delivery.deliver(records, terms):
                if isinstance(event, Settled) and event.ending is not DELIVERED:
                    failure = event.why
                elif isinstance(event, Returned):
                    if self.delivery.clock() + event.verdict.silence_seconds >= terms.deadline():
                        return event.verdict.why
                    returned = event.records
                    terms.wait(event.verdict.silence_seconds)
            records = returned
        return failure

    # The SDK hands the timeout over only to a parameter of this very name, positional or not but in the signature.
    def shutdown(self, timeout_millis: float = 30_000) -> None:
        """Let waiting retries go and close idle connections. An `export` under way ends with its current request."""
        self._shut_down.set()
        self.delivery.transport.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept between exports, so there is nothing to flush."""
        return True

    def __repr__(self) -> str:
        return f"<SGPSpanExporter to {self.config.endpoint}, account {self.config.account_id}>"
