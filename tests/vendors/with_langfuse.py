"""Langfuse joins the provider that there is, or makes one; `configure()` joins that."""

import beside
from langfuse import Langfuse

collector = beside.Collector()
client = Langfuse(public_key="pk-lf-1", secret_key="sk-lf-1", base_url=collector.url)
beside.configured()
beside.two_spans()
client.flush()
beside.assert_both_get_theirs(lambda: collector.names)
