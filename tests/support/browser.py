"""A real headless Chromium: the one on PATH, or the one that ``make test`` unpacks into build/tools/chromium.

::

    @pytest.fixture(scope="module")
    def browser():
        with open_browser() as browser:
            yield browser

    def test_page(browser, tmp_path):
        with open_page(browser, (tmp_path / "page.html").as_uri()) as page:
            assert page.inner_text("h1") == "..."

Tests that use it are skipped, with the reason, where there is no browser.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["open_browser", "open_page"]

_UNPACKED = Path(__file__).resolve().parents[2] / "build" / "tools" / "chromium"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    # The sandbox needs what containers do not give.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
_FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>/usr/share/fonts</dir><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>
"""


@contextlib.contextmanager
def open_browser() -> Iterator[Any]:
    """A playwright ``Browser`` with a fresh profile; skips the test that asks where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with tempfile.TemporaryDirectory(prefix="browser-") as home:
        program, environment = _program(Path(home))
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=program, args=list(_FLAGS), env={**os.environ, "HOME": home, **environment}
            )
            try:
                yield browser
            finally:
                browser.close()


@contextlib.contextmanager
def open_page(
    browser: Any, url: str, *, width: int = 1280, height: int = 900, dark: bool = False, offline: bool = False
) -> Iterator[Any]:
    """A playwright ``Page`` that shows `url`, in a context of its own.

    Args:
        browser: Of :func:`open_browser`.
        url: What to open.
        width: Of the window, in CSS pixels.
        height: Of the window.
        dark: Whether the user prefers dark pages.
        offline: Whether to fail the test when the page asks for anything over the network.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", offline=offline
    )
    asked: list[str] = []
    errors: list[str] = []
    try:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        yield page
        if offline:
            assert [one for one in asked if one != url and not one.startswith(("data:", "blob:"))] == []
        assert errors == []
    finally:
        context.close()


def _program(home: Path) -> tuple[str, dict[str, str]]:
    """Where the browser is, and what its environment needs."""
    for name in _NAMES:
        if found := shutil.which(name):
            return found, {}
    program = _UNPACKED / "usr" / "lib" / "chromium" / "chromium"
    if not program.is_file():
        pytest.skip(f"no chromium on PATH, nor in {_UNPACKED}, where `make test` unpacks it if apt is there")
    # Its libraries came along where the machine lacks them, and a font.
    folders = [path for path in _UNPACKED.glob("usr/lib/*-linux-gnu") if path.is_dir()]
    libraries = [*folders, *(path / "pulseaudio" for path in folders)]
    fonts = home / "fonts.conf"
    fonts.write_text(_FONTS.format(fonts=_UNPACKED / "usr" / "share" / "fonts", cache=home / "fonts"))
    inherited = filter(None, [os.environ.get("LD_LIBRARY_PATH")])
    return str(program), {
        "LD_LIBRARY_PATH": ":".join([*map(str, libraries), *inherited]),
        "FONTCONFIG_FILE": str(fonts),
    }
