"""A real Chromium (the distribution's package) and what the tests of the page want to know of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.hub_process import HubProcess
from tests.require import require

ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
]

WATCH_POLICY = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) =>
        window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""


# One browser per module, not per session: while Playwright's synchronous interface is open its loop counts as running,
# and asynchronous tests of other modules could not start theirs.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = require("chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield started
        started.close()


@dataclass
class Tab:
    """A page and what it did that nobody asked for."""

    page: Page
    crashes: list[str] = field(default_factory=list)
    console_errors: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    loads: int = 0

    def violations(self) -> Any:
        """Breaches of the Content-Security-Policy since the page was loaded."""
        return self.page.evaluate("window.violations")


def open_tab(context: BrowserContext) -> Tab:
    """A new tab that is listened to."""
    page = context.new_page()
    page.set_default_timeout(15_000)
    tab = Tab(page)
    page.add_init_script(WATCH_POLICY)
    page.on("pageerror", lambda error: tab.crashes.append(str(error)))
    page.on("console", lambda message: tab.console_errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: tab.addresses.append(request.url))
    page.on("websocket", lambda socket: tab.addresses.append(socket.url))

    def loaded(_: Page) -> None:
        tab.loads += 1

    page.on("load", loaded)
    return tab


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1280, "height": 860}, service_workers="block")
    yield made
    made.close()


@pytest.fixture
def tab(context: BrowserContext) -> Iterator[Tab]:
    """A tab in which no script may fail, whatever the test is about."""
    made = open_tab(context)
    yield made
    assert made.crashes == []


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A hub that the tests of a module share: they leave it running, and look for their own references only."""
    require("chromium")
    with HubProcess(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[HubProcess]:
    """A hub of the test's own, to kill and to start again."""
    with HubProcess(tmp_path) as running:
        yield running
