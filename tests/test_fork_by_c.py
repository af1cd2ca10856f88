"""uWSGI forks without Python's hooks: nothing that a child does may wait for a lock that it inherited."""

import os
from pathlib import Path

import pytest

from support import StubServer
from test_exit import run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.mark.parametrize(
    "first", ["sys.exit()", "spans(1)", "processor.flush(100)", "processor.stats()", "processor.shutdown(100)"]
)
def test_a_lock_that_a_vanished_thread_held_holds_up_nobody(tmp_path: Path, server: StubServer, first: str) -> None:
    """Whatever the child does first, and when it leaves without having done anything."""
    done = run(
        tmp_path,
        server.url,
        f"""
        import ctypes
        spans(1, "parent")
        processor.force_flush()
        time.sleep(0.3)  # a thread that asks for the interpreter during such a fork leaves it locked in the child
        held = processor._pipeline._guard._lock
        held.acquire()
        child = ctypes.PyDLL(None).fork()
        if child == 0:
            signal.alarm(10)
            {first}
            provider.shutdown()
            os._exit(0)  # CPython itself may hang at the exit of such a child, once it has any thread
        held.release()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
