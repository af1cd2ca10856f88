"""Temporal runs a workflow again from its history, on another worker or after an eviction."""

from __future__ import annotations

import sys


def is_replaying() -> bool:
    """Whether this is a workflow on its way through its past: what it starts was started before, and may have ended."""
    workflow = sys.modules.get("temporalio.workflow")
    if workflow is None or not workflow.in_workflow():
        return False
    return bool(workflow.unsafe.is_replaying())
