"""Phoenix: its provider drops its own exporter when someone adds a processor; `configure()` goes around that."""

import beside
from phoenix.otel import register

collector = beside.Collector()
register(endpoint=f"{collector.url}/v1/traces", protocol="http/protobuf", batch=True, verbose=False)
beside.configured()
beside.two_spans()
beside.assert_both_get_theirs(lambda: collector.names)
