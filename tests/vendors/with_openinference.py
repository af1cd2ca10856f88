"""OpenInference's LangChain instrumentation, under Phoenix: real spans of a chain, to both."""

import beside
from langchain_core.runnables import RunnableLambda
from openinference.instrumentation.langchain import LangChainInstrumentor
from phoenix.otel import register

collector = beside.Collector()
register(endpoint=f"{collector.url}/v1/traces", protocol="http/protobuf", batch=True, verbose=False)
beside.configured()
LangChainInstrumentor().instrument()
parent = RunnableLambda(lambda text: text.upper(), name="child")
RunnableLambda(lambda text: parent.invoke(text), name="parent").invoke("hello")
beside.assert_both_get_theirs(lambda: collector.names)
ends = [item for item in beside.sgp.items if item.get("end_timestamp")]
assert all("hello" in str(item["input"]) and "HELLO" in str(item["output"]) for item in ends), ends
