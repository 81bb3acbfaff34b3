"""The committed bundle is the one that the sources give, small, and quiet."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from profkit.views import bundle

BUILT = (bundle.SCRIPT, bundle.STYLE)
HARMLESS = re.compile(r"https?://www\.w3\.org/\d+/\w+")  # names of XML namespaces: nothing is asked there


def test_bundle_is_built_from_the_sources_beside_it():
    assert not bundle.is_stale(), "run `npm ci && npm run build` in profkit/views/frontend"


def test_bundle_is_small():
    assert sum(path.stat().st_size for path in BUILT) <= bundle.MAX_BYTES


@pytest.mark.parametrize("path", BUILT, ids=lambda path: path.name)
def test_bundle_asks_nothing_of_the_network_and_runs_no_text_as_code(path: Path):
    text = path.read_text()
    assert "http" not in HARMLESS.sub("", text)
    for word in (
        r"\beval\(",
        r"\bFunction\(",
        r"innerHTML",
        r"outerHTML",
        r"insertAdjacentHTML",
        r"document\.write",
        r"\bfetch\(",
        r"XMLHttpRequest",
        r"WebSocket",
        r"sendBeacon",
        r"\bimport\(",
        r"@import",
        r"url\(",
    ):
        assert not re.search(word, text), f"{word} in {path.name}"


def test_lock_file_names_no_registry():
    assert "resolved" not in (bundle.FRONTEND / "package-lock.json").read_text()


def test_changed_source_makes_the_bundle_stale(tmp_path, monkeypatch):
    (tmp_path / "src").mkdir()
    for name in ("build.mjs", "package-lock.json", "tsconfig.json", "src/main.ts"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(bundle, "FRONTEND", tmp_path)
    built = tmp_path / "profile.js"
    built.write_text(f"/* sources sha256:{bundle.sources_digest()} */\n")
    monkeypatch.setattr(bundle, "SCRIPT", built)
    monkeypatch.setattr(bundle, "STYLE", built)
    assert not bundle.is_stale()
    (tmp_path / "src" / "main.ts").write_text("changed")
    assert bundle.is_stale()


def test_installed_without_sources_nothing_is_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "FRONTEND", tmp_path / "frontend")
    assert not bundle.is_stale()


def test_bundle_without_a_banner_is_stale(tmp_path, monkeypatch):
    built = tmp_path / "profile.js"
    built.write_text("export default {}")
    monkeypatch.setattr(bundle, "SCRIPT", built)
    assert bundle.is_stale()
