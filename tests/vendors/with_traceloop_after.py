"""Traceloop set up after `configure()`."""

import beside
from traceloop.sdk import Traceloop

collector = beside.Collector()
beside.configured()
Traceloop.init(app_name="agent", api_endpoint=collector.url, api_key="k", telemetry_enabled=False)
beside.two_spans()
beside.assert_both_get_theirs(lambda: collector.names)
