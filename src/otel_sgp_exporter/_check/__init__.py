"""`otel-sgp check`: the settings and where they come from, one span there and back, and what is wrong."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from .._attach import switched_off
from .._config import ExporterConfig
from .._transport import untraced
from ._diagnosis import CheckError, Diagnosis, Exit
from ._pitfalls import pitfalls
from ._report import collected_warnings, lines, settings
from ._round_trip import RoundTrip
from ._surroundings import has_distro, installed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `otel-sgp check`. There is none for the key: a command line can be read by everybody."""
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    parser.epilog = "Exit status: " + ", ".join(f"{status.value} {status.name.lower()}" for status in Exit) + "."


def run(options: argparse.Namespace) -> int:
    """Check as told on the command line, print what was found, and return one of `Exit`."""
    report = check()
    sys.stdout.write(json.dumps(report, indent=2) + "\n" if options.json else "\n".join(lines(report)) + "\n")
    return int(report["status"])


def check() -> dict[str, Any]:
    """All that there is to know, secrets masked: `status` is one of `Exit`, `verdict` the sentence for it."""
    with collected_warnings() as warnings, untraced():
        found = installed()
        report: dict[str, Any] = {
            "settings": settings(),
            "warnings": warnings,
            "installed": [package._asdict() for package in found],
            "steps": [],
        }
        warnings += pitfalls({package.name for package in found}, has_distro())
        diagnosis = _diagnosis(report["steps"])
    return {**report, "status": diagnosis.status.value, "verdict": diagnosis.sentence}


def _diagnosis(steps: list[str]) -> Diagnosis:
    off = switched_off()
    if off:
        return Diagnosis(Exit.SETTINGS, f"No spans are sent: {off} is set, so unset it.")
    try:
        config = ExporterConfig.from_env()
    except ValueError as error:
        return Diagnosis(Exit.SETTINGS, str(error))
    try:
        return RoundTrip(config, steps).run()
    except CheckError as failure:
        return failure.diagnosis
