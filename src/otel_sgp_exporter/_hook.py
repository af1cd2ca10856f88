"""The loader's hook, apart and light: every process that `opentelemetry-instrument` starts runs it, wanted or not."""

from __future__ import annotations

import logging
import sys

from ._config import Setting, resolve

_logger = logging.getLogger(__package__)

_WANTED = Setting("traces_exporter", ("OTEL_TRACES_EXPORTER",), "", str, "Exporters of spans.")


def pre_instrument() -> None:
    """Called when distro and configurators have run, and before anything is instrumented. Never raises."""
    try:
        wanted = [name.strip() for name in str(resolve(_WANTED).value).split(",")]
        # Named in the variable, in whatever letters, or in a configuration file, which has loaded the exporter.
        if "sgp" in map(str.lower, wanted) or f"{__package__}._zero_code" in sys.modules:
            from ._zero_code import finish

            finish(wanted)
    except Exception as error:  # the loader catches nothing
        _logger.error("SGP gets no spans: %s", error)
