"""What an agentex agent does: `agentex_program.py URL [list]` traces a turn, and a span whose input is a list."""

import asyncio
import sys

from agentex.lib.core.tracing.processors.sgp_tracing_processor import SGPAsyncTracingProcessor
from agentex.lib.core.tracing.span_queue import shutdown_default_span_queue
from agentex.lib.core.tracing.trace import AsyncTrace
from agentex.lib.types.tracing import SGPTracingProcessorConfig


async def main(url: str, with_list: bool) -> None:
    config = SGPTracingProcessorConfig(sgp_api_key="key", sgp_account_id="acme", sgp_base_url=url)
    trace = AsyncTrace([SGPAsyncTracingProcessor(config)], client=None, trace_id="task")
    try:
        async with trace.span("turn:1", input={"q": "hé"}, data={"__span_type__": "AGENT_WORKFLOW"}) as turn:
            async with trace.span("llm:gpt", parent_id=turn.id, input={"messages": []}) as model:
                model.output = {"usage": {"input_tokens": 3, "output_tokens": 4}}
            if with_list:
                async with trace.span("list", parent_id=turn.id, input=[{"role": "user"}]):
                    pass
            async with trace.span("tool:x", parent_id=turn.id):
                raise RuntimeError("boom")
    except RuntimeError:
        pass
    await shutdown_default_span_queue()


asyncio.run(main(sys.argv[1], "list" in sys.argv))
