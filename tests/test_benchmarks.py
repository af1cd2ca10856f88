"""The benchmarks run: shapes and counts, never times."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import hot_path  # noqa: E402
from contenders import Contender, ours  # noqa: E402
from drivers import DRIVERS, OURS, SENDS, available  # noqa: E402
from harness import against, rotated  # noqa: E402
from plots import COLOURS, LEFT, RIGHT, WIDTH, Plot  # noqa: E402
from saturation import produce  # noqa: E402
from sizes import TINY  # noqa: E402
from stub_records import Request, report  # noqa: E402
from suite import WORKLOADS  # noqa: E402
from tables import Section  # noqa: E402

SPANS = 30


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the smallest form of the whole suite wrote, with ours alone."""
    into = tmp_path_factory.mktemp("benchmarks")
    command = [sys.executable, "-W", "error", str(BENCHMARKS / "suite.py"), "--tiny", "--output", str(into)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=100)
    return into


def table(text: str, title: str) -> dict[str, dict[str, str]]:
    """The rows of the table below a title, by their first cell."""
    lines = [line for line in text.partition(f"## {title}\n")[2].partition("\n## ")[0].splitlines() if line[:1] == "|"]
    columns, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}


def test_every_workload_has_a_table_and_a_row_for_ours(written: Path) -> None:
    """The document holds all of them."""
    text = (written / "results.md").read_text()
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert len(WORKLOADS) + 2 == len(titles)
    assert all(table(text, title) for title in titles)


def test_without_the_stock_exporter_nothing_is_compared_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite runs with whatever is installed: the cell stays empty."""
    monkeypatch.setattr(hot_path, "available", lambda name: False)
    found = hot_path.beside_stock("", ours(), 1)["beside"]
    section = Section("Title", "words", ("", "beside stock"), [("ours", found)], {})
    assert table(section.text(), "Title")["ours"]["beside stock"] == "-"


def test_what_was_measured_was_also_delivered(written: Path) -> None:
    """A figure for spans that were lost would be worth nothing."""
    text = (written / "results.md").read_text()
    saturated = table(text, "Saturation")["ours, 8 in flight"]
    assert (f"{TINY.spans:,}", "0") == (saturated["complete"], saturated["overlaps"])
    sustained = table(text, "Sustained load")["ours"]
    assert ("0", "0") == (sustained["lost"], sustained["overlaps"])
    assert f"{TINY.large_spans}" == table(text, "Memory")["ours"]["ENDs there"]


def test_the_start_delay_decides_how_often_a_span_is_written(written: Path) -> None:
    """Twice with a START for every span, once without."""
    upserts = {
        delay: row["upserts/span"]
        for delay, row in table((written / "results.md").read_text(), "The START delay").items()
    }
    assert {"0": "2", "off": "1"} == upserts


def test_every_plot_is_a_picture(written: Path) -> None:
    """Well-formed, and shown in the document."""
    text = (written / "results.md").read_text()
    plots = sorted((written / "plots").iterdir())
    assert [plot.name for plot in plots] == sorted(re.findall(r"\(plots/(.*?)\)", text))
    for plot in plots:
        assert ElementTree.parse(plot).getroot().tag.endswith("svg")


@pytest.mark.parametrize("name", [name for name in DRIVERS if name in SENDS])
def test_every_driver_delivers(name: str) -> None:
    """All spans are complete at the stub server, whatever the protocol, and never END before START."""
    if not available(name):
        pytest.skip("not installed")
    _, seen = against(("--latency", "zero", "--keep-bodies"), produce, Contender(name, name), SPANS, 20)
    assert [*range(SPANS)] == sorted(number for number, span in seen.spans.items() if span.end)
    assert 0 == seen.overlaps == seen.late_starts
    if name == OURS:
        assert {2} == {span.upserts for span in seen.spans.values()}


def request(arrived: float, answered: float, *, end: bool) -> Request:
    """A request with the START or the END of span 7."""
    ended = ',"end_timestamp":"2026-11-21T00:00:01Z"' if end else ""
    body = f'{{"items":[{{"name":"span-0000007","start_timestamp":"2026-11-21T00:00:00Z"{ended}}}]}}'
    sent = Request(False, memoryview(body.encode()), keep=True)
    sent.arrived, sent.answered = arrived, answered
    return sent


@pytest.mark.parametrize(
    ("end_from", "end_to", "overlaps", "late_starts"), [(2.0, 3.0, 0, 0), (1.5, 3.0, 1, 0), (1.5, 1.8, 1, 1)]
)
def test_the_stub_tells_when_the_order_was_wrong(
    end_from: float, end_to: float, overlaps: int, late_starts: int
) -> None:
    """A START that is under way from 1 to 2 when its END comes, and one that is answered after it."""
    seen = report([request(1.0, 2.0, end=False), request(end_from, end_to, end=True)])
    assert (overlaps, late_starts) == (seen["overlaps"], seen["late_starts"])
    assert {7: [2.0, end_to, 2]} == seen["spans"]
    assert 1 + overlaps == seen["most_in_flight"]


def test_a_backend_over_its_capacity_refuses() -> None:
    """The stub counts what it refused, and what it took in the end."""
    options = ("--latency", "fixed:20", "--capacity", "1", "--over", "429")
    settings = (("max_export_batch_size", 5), ("schedule_delay_millis", 1))
    _, seen = against(options, produce, Contender("small batches", OURS, settings), SPANS, 20)
    assert SPANS == seen.ends
    assert {200, 429} == {request.status for request in seen.requests}


def test_the_order_rotates() -> None:
    """Everybody is first once, so that nobody always runs on the warmer machine."""
    rounds = list(rotated("abc", 3))
    assert ["abc", "bca", "cab"] == ["".join(rounds[first : first + 3]) for first in (0, 3, 6)]


def test_numbers_are_shown_with_the_digits_that_matter() -> None:
    """And what there is none of as what it is."""
    row = ("x", 1234.5, 12.34, 1.234, 0.0, float("nan"), float("inf"), None, "8 %")
    section = Section("T", "W", tuple("abcdefghi"), [row], {})
    assert ["x", "1,234", "12.3", "1.23", "0", "-", "never", "-", "8 %"] == [
        cell.strip() for cell in section.text().splitlines()[-1].strip("|").split("|")
    ]


def test_bars_are_as_long_as_what_they_show() -> None:
    """The longest fits into the picture."""
    root = ElementTree.fromstring(Plot("t", "ms", {"x": [1.0, 4.0]}, ["a", "b"]).svg())
    widths = [float(rect.get("width", "")) for rect in root if rect.get("fill") == COLOURS[0]]
    assert [pytest.approx(widths[1] / 4), WIDTH - LEFT - RIGHT] == widths


def test_plots_survive_what_cannot_be_drawn() -> None:
    """Nothing measured, nothing arrived, names that are markup."""
    bars = Plot("a < b", "ms", {"x": [float("nan"), float("inf"), 0.0]}, ["n", "i", "&"])
    lines = Plot("growth", "µs", {"x": [1.0, 0.0]}, xs=[10, 100])
    for plot in (bars, lines):
        assert ElementTree.fromstring(plot.svg()).tag.endswith("svg")
