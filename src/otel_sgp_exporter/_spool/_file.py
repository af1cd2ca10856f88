"""A SQLite file that many processes and threads share, and that may be locked, full, broken or gone at any moment.

A connection lives for one operation, and the file keeps SQLite's rollback journal. A connection that is open during a
fork makes the child believe that it holds the parent's locks; and WAL breaks on network volumes, which is where the
files that survive a container usually are. WAL would be no faster either: the time goes to the disk.
"""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_logger = logging.getLogger(__package__)

_BUSY_SECONDS = 10.0
_LOCKED = "database is locked"  # SQLITE_BUSY; error codes are there from Python 3.11 on only
_LOCKED_SECONDS = 0.05
_LOCKED_OUT_SECONDS = 1.0
_ATTEMPTS = 3
_MAX_CORRUPT_FILES = 9
_CHANGE_COUNTER_AT = 24  # in the header of a SQLite file

T = TypeVar("T")

# One operation at a time in this process, and none during a fork: the child finds SQLite at rest. Reentrant, so that
# a signal handler may fork.
one_operation = threading.RLock()


def _before_fork() -> None:
    one_operation.acquire(timeout=_BUSY_SECONDS)


def _after_fork() -> None:
    with suppress(RuntimeError):  # a disk that hangs has kept it: then the child never gets it, and has no spool
        one_operation.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


class SharedFile:
    """Runs operations, a transaction each. What goes wrong is logged when it begins and when it is over, not raised.

    Args:
        path: The file; it and its directory are made when they are needed, for this user only.
        schema: SQL that makes the tables where they are missing and sets `user_version`.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self.path = path
        self._schema = schema
        self._troubles: dict[str, str] = {}
        self._locked_until = 0.0  # after somebody held the lock for too long

    @property
    def trouble(self) -> str:
        """What cannot be done and why, as far as anybody has tried; empty when everything can."""
        return "; ".join(f"the spool cannot {what}: {trouble}" for what, trouble in self._troubles.items())

    def run(self, what: str, operation: Callable[[sqlite3.Connection], T], *, create: bool = False) -> T | None:
        """What `operation` returns, once it is committed; None if it fails, or if there is no file to look into.

        `what` completes "cannot ..." in the log. Where the file may be made, something would be lost: then a lock is
        waited for a little, even if others have waited in vain.
        """
        if not create and self.version() is None:
            return None
        try:
            result = self._transact_in_sound_file(operation, patient=create)
        except (sqlite3.Error, OSError) as error:
            self.note(what, str(error))
            return None
        self.note(what, None)
        return result

    def version(self) -> object:
        """Another one after each commit, whoever makes it; None when there is no file."""
        try:
            # Alone, because closing a file drops all locks that the process has on it.
            with _alone(), open(self.path, "rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                file.seek(_CHANGE_COUNTER_AT)
                version = status.st_ino, status.st_mtime_ns, file.read(4)
        except FileNotFoundError:
            version = None
        except (sqlite3.Error, OSError) as error:
            self.note("be opened", str(error))
            return None
        self.note("be opened", None)
        return version

    def note(self, what: str, trouble: str | None) -> None:
        """Log that `what` cannot be done because of `trouble`, or can be done again; only when that is new."""
        if trouble is not None and what not in self._troubles:
            self._troubles[what] = trouble
            _logger.error("The spool %s cannot %s: %s", self.path, what, trouble)
        elif trouble is None and self._troubles.pop(what, None) is not None:
            _logger.warning("The spool %s can %s again", self.path, what)

    def _transact_in_sound_file(self, operation: Callable[[sqlite3.Connection], T], *, patient: bool) -> T:
        for attempts_left in reversed(range(_ATTEMPTS)):
            try:
                return self._transact_in_turn(operation, patient=patient)
            except sqlite3.DatabaseError as error:
                if not attempts_left or not _is_corrupt(error):
                    raise
                _logger.error("%s is corrupt, it is moved aside and begun anew: %s", self.path, error)
                self._troubles["deliver what was in it"] = f"it was corrupt ({error}) and lies beside the new one"
        raise AssertionError("the last attempt returns or raises")

    def _transact_in_turn(self, operation: Callable[[sqlite3.Connection], T], *, patient: bool) -> T:
        # SQLite would wait in here, but in ever longer steps, so that of many processes some come last for seconds;
        # and it would do so under our lock, which a fork waits for.
        began = time.monotonic()
        if began < self._locked_until and not patient:
            raise sqlite3.OperationalError(_LOCKED)  # else senders would do nothing but wait for it
        patience = _BUSY_SECONDS if not self._locked_until else _BUSY_SECONDS / 10 if patient else 0.0
        give_up_at = began + patience
        while True:
            try:
                result = self._transact(operation)
            except sqlite3.OperationalError as error:
                if str(error) != _LOCKED:
                    raise
                if time.monotonic() >= give_up_at:
                    self._locked_until = time.monotonic() + _LOCKED_OUT_SECONDS
                    raise
            else:
                self._locked_until = 0.0
                return result
            time.sleep(random.uniform(0, _LOCKED_SECONDS))  # noqa: S311  # no secret hangs on it

    def _transact(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        with _alone():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A corrupt file has to be moved while nobody has it open. SQLite looks for a journal by name: it would play
            # back that of the new file into the old one, and delete it.
            with _one_process(self.path.with_name(f"{self.path.name}.lock")):
                self._create()
                try:
                    return self._transact_in_connection(operation)
                except sqlite3.DatabaseError as error:
                    if _is_corrupt(error):
                        self._set_aside()
                    raise

    def _transact_in_connection(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        # mode=rw: SQLite would make the file readable to everybody.
        uri = f"{self.path.as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=_LOCKED_SECONDS, isolation_level=None)) as connection:
            if connection.execute("PRAGMA user_version").fetchone() == (0,):
                connection.executescript(self._schema)
            connection.execute("BEGIN")
            result = operation(connection)
            connection.execute("COMMIT")
            return result

    def _create(self) -> None:
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    def _set_aside(self) -> None:
        names = [f"{self.path}.corrupt-{number}" for number in range(1, _MAX_CORRUPT_FILES + 1)]
        # No journal is left to move: SQLite plays it back, or deletes it, before it can tell that it is corrupt.
        os.replace(self.path, next((name for name in names if not os.path.exists(name)), names[-1]))


@contextmanager
def _alone() -> Iterator[None]:
    if not one_operation.acquire(timeout=_BUSY_SECONDS):
        raise sqlite3.OperationalError("the disk does not answer")
    try:
        yield
    finally:
        one_operation.release()


@contextmanager
def _one_process(lock: Path) -> Iterator[None]:
    """At a time, where the system and the volume know such locks. Raises what SQLite raises when others take long."""
    with ExitStack() as stack:
        with suppress(OSError):
            descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
            stack.callback(os.close, descriptor)
            _flock(descriptor)
            if fcntl is not None:  # a child that was forked meanwhile may have the descriptor for long
                stack.callback(fcntl.flock, descriptor, fcntl.LOCK_UN)
        yield


def _flock(descriptor: int) -> None:
    give_up_at = time.monotonic() + _LOCKED_SECONDS
    while fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                raise sqlite3.OperationalError(_LOCKED) from None
        time.sleep(random.uniform(0, _LOCKED_SECONDS / 10))  # noqa: S311  # no secret hangs on it


def _is_corrupt(error: sqlite3.DatabaseError) -> bool:
    # SQLITE_CORRUPT and SQLITE_NOTADB are of the base class itself; error codes are there from Python 3.11 on only.
    return type(error) is sqlite3.DatabaseError
