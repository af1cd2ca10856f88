"""Whatever imports this first is skipped where the extra is not installed."""

import pytest

for _module in ("google.protobuf", "opentelemetry.proto.trace.v1.trace_pb2", "starlette", "uvicorn"):
    pytest.importorskip(_module, reason="needs the extra [gateway]")
