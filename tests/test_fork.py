"""Forks: in the middle of traffic, many of them, by C code behind Python's back, and those of a real gunicorn."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from faults import Fault, FaultProxy, passes, refused, reset_after_body, status
from support import Answer, Request, StubServer, upserts, wait_until
from test_exit import complete, run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

TRAFFIC = """
import faulthandler
faulthandler.dump_traceback_later(25, exit=True)
done = threading.Event()
def flow():
    while not done.is_set():
        spans(1, "parent")
        time.sleep(0.0005)
threads = [threading.Thread(target=flow, daemon=True) for _ in range(3)]
for thread in threads: thread.start()
def stop():
    done.set()
    for thread in threads: thread.join()
def fork(work):
    child = os.fork()
    if child: return child
    try:
        work()
        code = 0 if processor.force_flush(10_000) else 1
    finally:
        os._exit(code)
def wait(children):
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
"""


def names_by_port(server: StubServer) -> dict[int, set[str]]:
    """Whose spans came over each connection: the first word of their names."""
    ports: dict[int, set[str]] = defaultdict(set)
    for request in server.requests:
        ports[request.port] |= {item["name"].split()[0] for item in request.items}
    return dict(ports)


def test_fifty_forks_in_the_middle_of_traffic(tmp_path: Path) -> None:
    """Each child delivers what is its own, once, over connections of its own; nobody is stuck; the parent goes on."""
    with StubServer(latency_seconds=0.01) as server:
        done = run(
            tmp_path,
            server.url,
            TRAFFIC
            + """
children = []
for number in range(50):
    children.append(fork(lambda: spans(4, f"child{number}")))
    time.sleep(0.005)
print(wait(children) == [0] * 50)
stop()
processor.shutdown()
stats = processor.stats()
print(stats.delivered == stats.offered, stats.lost)
        """,
        )
        assert (done.stdout, done.stderr) == ("True\nTrue {}\n", "")
        assert complete(server) == len(upserts(server.items))  # nothing twice
        ends = [item["name"].split()[0] for item in server.items if item.get("end_timestamp")]
        assert {name: ends.count(name) for name in set(ends) - {"parent"}} == {f"child{n}": 4 for n in range(50)}
        assert {len(senders) for senders in names_by_port(server).values()} == {1}


def test_no_process_reads_an_answer_meant_for_another(tmp_path: Path) -> None:
    """The server refuses what the children send and takes what the parent sends: each hears of its own only."""

    def script(request: Request) -> Answer:
        refused = request.items[0]["name"].startswith("child")
        return Answer(422 if refused else 200, body=b"{}")

    with StubServer(script, latency_seconds=0.02) as server:
        done = run(
            tmp_path,
            server.url,
            TRAFFIC
            + """
import logging
logging.getLogger("otel_sgp_exporter").setLevel(logging.CRITICAL)
def work():
    spans(8, "child")
    processor.force_flush()
    stats = processor.stats()
    os._exit(0 if (stats.delivered, sum(stats.lost.values())) == (0, 8) else 1)
print(wait([fork(work) for _ in range(10)]) == [0] * 10)
stop()
processor.shutdown()
stats = processor.stats()
print(stats.delivered == stats.offered)
        """,
        )
    assert (done.stdout, done.stderr) == ("True\nTrue\n", "")


def test_senders_that_start_together_in_a_child_use_none_of_the_parent_s_connections(
    tmp_path: Path, server: StubServer
) -> None:
    """All eight find at the same time that the client is the parent's, and it takes a while to make a new one."""
    done = run(
        tmp_path,
        server.url,
        """
        import httpcore
        spans(8, "parent")
        processor.force_flush()
        if os.fork() == 0:
            class SlowToMake(httpcore.ConnectionPool):
                def __init__(self, *args, **options):
                    time.sleep(0.2)
                    super().__init__(*args, **options)
            httpcore.ConnectionPool = SlowToMake
            spans(1, "child")
            threading.Thread(target=processor.force_flush).start()  # from here on nothing lingers
            for _ in range(30):
                time.sleep(0.005)
                spans(1, "child")
            os._exit(not processor.force_flush(5000))
        print(os.waitstatus_to_exitcode(os.wait()[1]))
        """,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert {len(senders) for senders in names_by_port(server).values()} == {1}


def test_a_child_starts_threads_with_its_first_span_and_not_in_the_fork(tmp_path: Path, server: StubServer) -> None:
    """Twenty processors cost a fork nothing: whoever forks to exec, or traces nothing, gets no threads."""
    done = run(
        tmp_path,
        server.url,
        """
        others = [ConcurrentBatchSpanProcessor(SGPSpanExporter()) for _ in range(20)]
        spans(1)
        def senders():
            return sum(thread.name.startswith("sgp-export") for thread in threading.enumerate())
        before = senders()
        if os.fork() == 0:
            print(before, senders(), end=" ")
            processor.force_flush(), processor.stats()
            print(senders(), end=" ")
            spans(1)
            print(senders(), flush=True)
            os._exit(not processor.force_flush())
        print(os.waitstatus_to_exitcode(os.wait()[1]))
        """,
    )
    assert (done.stdout, done.stderr) == ("12 0 0 12\n0\n", "")


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize(
    "fault", [passes, status(422), status(413), status(503, {"retry-after": "1"}), reset_after_body], ids=range(5)
)
def test_nothing_is_imported_on_the_way_to_the_server(
    tmp_path: Path, server: StubServer, fault: Fault, compression: str
) -> None:
    """A thread of the parent that imports at the moment of a fork leaves that module locked in the child, for ever."""
    with FaultProxy(server.url, [fault]) as proxy:
        done = run(
            tmp_path,
            proxy.url,
            f"""
            processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(compression="{compression}"))
            provider.add_span_processor(processor)
            before = set(sys.modules)
            spans(3)
            processor.force_flush(3000)
            processor.shutdown(100)
            print(sorted(set(sys.modules) - before))
            """,
        )
    assert done.stdout == "[]\n"


def test_a_processor_that_was_collected_before_the_fork_is_no_trouble(tmp_path: Path, server: StubServer) -> None:
    """Hooks hold processors weakly, and a dead one raises nothing in the child."""
    done = run(
        tmp_path,
        server.url,
        """
        import gc
        for _ in range(5):
            other = ConcurrentBatchSpanProcessor(SGPSpanExporter())
            del other
        gc.collect()
        if os.fork() == 0:
            spans(3, "child")
            sys.exit()
        os.wait()
        """,
    )
    assert (complete(server), done.returncode, done.stderr) == (3, 0, "")


def test_a_child_counts_from_nothing_and_the_parent_as_if_nothing_had_been(tmp_path: Path, server: StubServer) -> None:
    """What was pending at the fork is the parent's alone, in its counts too."""
    done = run(
        tmp_path,
        server.url,
        """
        spans(5)
        if os.fork() == 0:
            print(processor.stats().offered, end=" ")
            spans(2)
            print(processor.stats().offered, flush=True)
            os._exit(0)
        os.wait()
        processor.shutdown()
        print(processor.stats().offered, processor.stats().delivered)
        """,
    )
    assert (done.stdout, done.stderr) == ("0 4\n10 10\n", "")


def test_a_span_that_is_open_at_the_fork_may_end_in_both(tmp_path: Path, server: StubServer) -> None:
    """Its END then comes twice, and the last one stays: upserts, not rows. Documented, not prevented."""
    done = run(
        tmp_path,
        server.url,
        """
        span = tracer.start_span("open")
        processor.force_flush()
        if os.fork() == 0:
            span.end()
            sys.exit()
        os.wait()
        span.end()
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(upserts(server.items).values()) == [["start", "end", "end"]]


def test_a_fork_from_a_thread_while_others_flush(tmp_path: Path, server: StubServer) -> None:
    """Locks and waits of threads that do not exist in the child hold up nothing there."""
    done = run(
        tmp_path,
        server.url,
        TRAFFIC
        + """
def flushes():
    while not done.is_set(): processor.force_flush(50), processor.stats()
flushers = [threading.Thread(target=flushes, daemon=True) for _ in range(3)]
for thread in flushers: thread.start()
codes = []
def forks():
    codes.extend(wait([fork(lambda: spans(2, "child")) for _ in range(10)]))
forker = threading.Thread(target=forks)
forker.start()
forker.join()
stop()
for thread in flushers: thread.join()
print(codes == [0] * 10)
        """,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert complete(server) == len(upserts(server.items))


def test_a_shut_down_processor_stays_shut_in_the_child(tmp_path: Path, server: StubServer) -> None:
    """A fork does not bring back what somebody has ended."""
    done = run(
        tmp_path,
        server.url,
        """
        spans(1)
        provider.shutdown()
        if os.fork() == 0:
            spans(1, "child")
            print(processor.stats().dropped, flush=True)
            os._exit(0)
        os.wait()
        """,
    )
    assert (done.stdout, done.stderr) == ("2\n", "")


@pytest.mark.parametrize("first", ["spans(3, 'child')", "processor.force_flush()", "processor.stats()"])
def test_a_fork_by_c_code_is_noticed(tmp_path: Path, server: StubServer, first: str) -> None:
    """uWSGI forks without Python's hooks: whatever is called first in the child sees the new pid.

    The senders sleep meanwhile: without the hooks, the interpreter itself does not survive a fork of busy threads.
    """
    done = run(
        tmp_path,
        server.url,
        f"""
        import ctypes
        for number in range(5):
            spans(2, "parent")
            processor.force_flush()
            spans(2, "parent")
            time.sleep(0.1)
            child = ctypes.PyDLL(None).fork()
            if child == 0:
                signal.alarm(10)
                {first}
                spans(3, "child")
                flushed, stats = processor.force_flush(1000), processor.stats()
                os._exit(not flushed or stats.offered != stats.delivered or stats.offered > 12)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
    )
    assert (done.stdout, done.stderr) == ("0\n" * 5, "")
    names = [item["name"].split()[0] for item in server.items if item.get("end_timestamp")]
    assert names.count("parent") == 20


def test_a_child_that_traces_nothing_leaves_at_once(tmp_path: Path, server: StubServer) -> None:
    """It shuts down what it inherited, as every exit does, while the parent's threads were in the middle of sending."""
    done = run(
        tmp_path,
        server.url,
        """
import httpcore._sync.connection_pool as httpcore_pool
class HeldForLong(httpcore_pool.ThreadLock):
    def __enter__(self):
        super().__enter__()
        time.sleep(0.005)
httpcore_pool.ThreadLock = HeldForLong
os.environ["OTEL_BSP_SCHEDULE_DELAY"], os.environ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"] = "1", "1"
processor = ConcurrentBatchSpanProcessor(SGPSpanExporter())
provider.add_span_processor(processor)
"""
        + TRAFFIC
        + """
spans(10)
def shut_down():
    signal.alarm(2)
    processor.shutdown(100)
    os._exit(0)
print([wait([fork(shut_down)])[0] for _ in range(5)], flush=True)
os._exit(0)
        """,
    )
    assert (done.stdout, done.stderr) == (f"{[0] * 5}\n", "")


def test_a_fork_with_a_dead_backend_keeps_both_responsive(tmp_path: Path) -> None:
    """Nobody inherits an outage: the child has a queue, a gate and deadlines of its own."""
    with refused() as url:
        done = run(
            tmp_path,
            url,
            """
            import logging
            logging.getLogger("otel_sgp_exporter").setLevel(logging.CRITICAL)
            spans(10)
            time.sleep(0.3)
            child = os.fork()
            spans(5)
            began = time.monotonic()
            processor.shutdown(300)
            print(time.monotonic() - began < 0.8, processor.stats().offered)
            if child == 0: os._exit(0)
            os.wait()
            """,
        )
    assert sorted(done.stdout.splitlines()) == ["True 10", "True 30"]
    assert done.stderr == ""


APPLICATION = """
import os
from opentelemetry.sdk.trace import TracerProvider
from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
processor = ConcurrentBatchSpanProcessor(SGPSpanExporter())
provider = TracerProvider()
provider.add_span_processor(processor)
tracer = provider.get_tracer("app")
tracer.start_span("loaded in the master").end()
def application(environ, start_response):
    with tracer.start_as_current_span(f"request {os.getpid()}"):
        start_response("200 OK", [("content-length", str(len(str(os.getpid()))))])
        return [str(os.getpid()).encode()]
"""


def test_gunicorn_with_preload_delivers_the_spans_of_all_workers(tmp_path: Path, server: StubServer) -> None:
    """The provider is made in the master, used in the workers, and SIGTERM delivers what is left in each."""
    pytest.importorskip("gunicorn")
    (tmp_path / "application.py").write_text(APPLICATION)
    environment = os.environ | {
        "OTEL_EXPORTER_SGP_ENDPOINT": server.url,
        "OTEL_EXPORTER_SGP_API_KEY": "k",
        "OTEL_EXPORTER_SGP_ACCOUNT_ID": "a",
        "OTEL_BSP_SCHEDULE_DELAY": "600000",  # nothing but the exit delivers
    }
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--bind", "127.0.0.1:0", "application"]
    with (tmp_path / "log").open("w") as log:
        gunicorn = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
    try:
        said = (tmp_path / "log").read_text
        wait_until(lambda: said().count("Booting worker") == 2, 20)
        url = said().partition("Listening at: ")[2].split()[0]
        answers: list[str] = []

        def ask(number: int) -> None:
            with urllib.request.urlopen(url) as answer:
                answers.append(answer.read().decode())

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, range(60)))
    finally:
        gunicorn.send_signal(signal.SIGTERM)
        gunicorn.wait(20)
    assert len(set(answers)) == 2
    assert "Traceback" not in said()
    ended = [item["name"] for item in server.items if item.get("end_timestamp")]
    assert sorted(ended) == sorted([f"request {pid}" for pid in answers] + ["loaded in the master"])
    assert complete(server) == 61
