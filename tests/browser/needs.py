"""What these tests need. Importing it skips a test file, and says why, where that is missing; in CI it fails."""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def missing() -> str | None:
    """What is not installed, in words."""
    packages = [name for name in ("playwright", "jupyterlab") if importlib.util.find_spec(name) is None]
    if packages:
        return f"{' and '.join(packages)} not installed: pip install 'profkit[browser]'"
    if not any(map(shutil.which, BROWSERS)):
        return f"no browser on PATH ({', '.join(BROWSERS)}): apt-get install chromium"
    return None


if reason := missing():
    if os.environ.get("CI"):
        raise RuntimeError(f"browser tests cannot run in CI: {reason}")
    pytest.skip(f"browser tests: {reason}", allow_module_level=True)
