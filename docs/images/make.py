"""Makes the pictures of the page anew: `python docs/images/make.py`, with Playwright and Debian's chromium.

They show the example agent as it is, traced by the exporter into a local SGP.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from otel_sgp_exporter.devserver import DevServer

HERE = Path(__file__).parent
AGENT = HERE.parent.parent / "examples" / "langgraph_agent.py"
SIZE = {"width": 1280, "height": 640}


def run_agent(url: str, think_seconds: float) -> subprocess.Popen[bytes]:
    variables = {"ENDPOINT": url, "API_KEY": "local", "ACCOUNT_ID": "local"}
    environment = {**os.environ, **{f"OTEL_EXPORTER_SGP_{name}": value for name, value in variables.items()}}
    environment |= {"OPENAI_API_KEY": "", "no_proxy": "127.0.0.1"}
    command = [sys.executable, str(AGENT), "--think-seconds", str(think_seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603


def picture(page: Any, name: str) -> None:
    page.mouse.move(0, 0)
    page.screenshot(path=HERE / f"{name}.png")


def main() -> None:
    with DevServer(latency_p50_millis=40) as server, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(server.url)
        for think_seconds in (0.4, 0.9):
            assert run_agent(server.url, think_seconds).wait() == 0
        agent = run_agent(server.url, 1.6)
        page.locator(".trace-row").nth(7).wait_for()  # its second question, after the three of each run before
        page.locator(".trace-row").first.click()
        page.locator(".span-row").filter(has_text="chat stand-in-1").nth(1).wait_for()
        page.locator(".span-row").filter(has_text="chat stand-in-1").first.click()
        page.wait_for_timeout(1200)
        picture(page, "trace-running")
        assert agent.wait() == 0
        page.locator("#head .sign.success").wait_for()
        page.locator(".span-row").filter(has_text="chat stand-in-1").last.click()
        page.wait_for_timeout(500)
        picture(page, "trace-light")
        page.emulate_media(color_scheme="dark")
        picture(page, "trace-dark")
        page.emulate_media(color_scheme="light")
        page.keyboard.press("Escape")
        page.wait_for_timeout(500)
        picture(page, "traces")
        browser.close()


if __name__ == "__main__":
    main()
