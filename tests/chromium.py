"""A real browser for the tests: Chromium or Chrome that is installed, else one that is fetched.

Where none can be had this raises, so that the tests of the page fail and are never passed over.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)


def installed() -> str | None:
    """The browser of this machine, if it has one."""
    found = (shutil.which(name) for name in NAMES)
    return next((path for path in (*found, *(p for p in _PLACES if Path(p).exists())) if path), None)


@lru_cache
def executable() -> str | None:
    """A browser's file; None for the one that Playwright has fetched. Raises RuntimeError where there is no way."""
    if path := installed():
        return path
    fetched = _tried([sys.executable, "-m", "playwright", "install", "chromium"])
    if fetched is None:
        return None
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _tried(["apt-get", "update", "-q"])
        failed = _tried(["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"])
        if path := installed():
            return path
        fetched += f"; apt-get: {failed}"
    raise RuntimeError(f"no browser for the tests: install Chromium or Chrome ({fetched})")


def _tried(command: list[str]) -> str | None:
    """None where the command ended well, else the end of what it said."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return (ended.stderr or ended.stdout)[-300:] if ended.returncode else None


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        try:
            yield launched
        finally:
            launched.close()
