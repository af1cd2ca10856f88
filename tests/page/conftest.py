"""A local SGP and its page in Debian's chromium; skipped, with the reason, where there is none."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "devserver"))

from sgp_client import Sgp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")  # not longer: its event loop runs in this thread, and other tests have their own
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (pip install playwright)"
    )
    if CHROMIUM is None:
        pytest.skip("no chromium found (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, headless=True)
        yield browser
        browser.close()


@pytest.fixture
def sgp() -> Iterator[Sgp]:
    with Sgp() as sgp:
        yield sgp


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh profile. Whatever the page complains about fails the test."""
    context = browser.new_context(viewport={"width": 1360, "height": 760})
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    page.set_default_timeout(10_000)
    yield page
    context.close()
    # The browser itself reports a refused key, and a server that is gone.
    assert [complaint for complaint in complaints if "Failed to load resource" not in complaint] == []
