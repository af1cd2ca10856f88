"""Exit and fork: what the process does, told to every pipeline that lives."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from typing import Protocol


class Survivor(Protocol):
    """What has to hear of exits and forks."""

    def start_over(self) -> None:
        """This is a forked child: nothing of the parent's is ours, and none of its threads came along."""

    def hurry(self) -> None:
        """The interpreter is about to exit: start to deliver what is left, without waiting."""

    def drain(self) -> None:
        """The interpreter exits: deliver what is left."""


_living: weakref.WeakSet[Survivor] = weakref.WeakSet()
_watched_pids: set[int] = set()


def watch(survivor: Survivor) -> None:
    """Tell `survivor` of exits and forks for as long as it lives."""
    _living.add(survivor)


def watch_exit() -> None:
    """Called when spans begin to flow, when their provider has registered its own exit hook: ours then runs first.

    Providers shut down one after the other at exit, and a slow one before us could use up all the time there is.
    """
    if os.getpid() in _watched_pids:
        return
    _watched_pids.add(os.getpid())
    atexit.register(_hurry_all)
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        # Such children leave through os._exit, without atexit, on most versions; their own finalisers still run.
        from multiprocessing.util import Finalize

        Finalize(None, _drain_all, exitpriority=0)


def _hurry_all() -> None:
    for survivor in list(_living):
        survivor.hurry()


def _drain_all() -> None:
    _hurry_all()
    for survivor in list(_living):
        survivor.drain()


def _start_all_over() -> None:
    for survivor in list(_living):
        survivor.start_over()


# Registered on import, so mostly before any provider's hook and therefore run after it: this one is for providers
# that do not shut down at exit.
atexit.register(_drain_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_all_over)
