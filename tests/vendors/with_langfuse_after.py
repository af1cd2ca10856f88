"""Langfuse set up after `configure()`."""

import beside
from langfuse import Langfuse

collector = beside.Collector()
beside.configured()
client = Langfuse(public_key="pk-lf-1", secret_key="sk-lf-1", base_url=collector.url)
beside.two_spans()
client.flush()
beside.assert_both_get_theirs(lambda: collector.names)
