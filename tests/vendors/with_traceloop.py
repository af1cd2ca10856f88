"""Traceloop wraps `on_start` of processors, and leaves ours alone."""

import beside
from traceloop.sdk import Traceloop

collector = beside.Collector()
Traceloop.init(app_name="agent", api_endpoint=collector.url, api_key="k", telemetry_enabled=False)
beside.configured()
beside.two_spans()
beside.assert_both_get_theirs(lambda: collector.names)
