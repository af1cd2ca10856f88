// Sends three spans through OpenTelemetry's own JavaScript exporter: node send.mjs URL MODULE
import { createRequire } from "node:module";

const require = createRequire(`${process.cwd()}/`);
const { SpanStatusCode, context, trace } = require("@opentelemetry/api");
const { BasicTracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace-base");
const { OTLPTraceExporter } = require(process.argv[3]);

const provider = new BasicTracerProvider({
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter({ url: process.argv[2] }))],
});
const tracer = provider.getTracer("an-agent", "1.2.3");
const root = tracer.startSpan("answer", { attributes: { "sgp.type": "AGENT_WORKFLOW" } });
const inside = trace.setSpan(context.active(), root);
const attributes = { "gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 7, ratio: 0.5, tags: ["a", "b"] };
tracer.startSpan("chat", { attributes, kind: 2 }, inside).end();
const failed = tracer.startSpan("tool", {}, inside);
failed.recordException(new Error("boom"));
failed.setStatus({ code: SpanStatusCode.ERROR, message: "boom" });
failed.end();
root.end();
await provider.forceFlush();
await provider.shutdown();
