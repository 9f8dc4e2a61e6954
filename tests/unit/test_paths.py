"""Paths as they are spelled on disk; tests/real/test_volume.py has a file system on which that is not the given way."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev_sessions.system.paths import as_on_disk


def test_a_path_is_spelled_as_it_was_given_where_case_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where names that differ in case are different, or nothing is there, a path only becomes absolute."""
    for name in ("one", "ONE", "Two", "1"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("one")
    for name in ("one", "ONE", "Two", "1", "link", "missing/too"):
        assert as_on_disk(f"{tmp_path}/{name}/") == f"{tmp_path}/{name}"
    monkeypatch.chdir(tmp_path / "one")
    assert as_on_disk(".") == f"{tmp_path}/one"
    assert as_on_disk("/") == "/"
