"""The environments that `tests/run --pythons` tests in, and its table."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support import pythons


def test_the_oldest_dependencies_are_the_lowest_allowed() -> None:
    """The lowest version that the project allows of each dependency is the one that is tested."""
    assert pythons.oldest(["click>=8.4", "filelock>=3.13"]) == ["click==8.4", "filelock==3.13"]


def test_an_interpreter_is_taken_only_if_it_is_that_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stub that is named like an interpreter, or another version, is not tested in its place."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    (tmp_path / "stub").mkdir()
    stub = tmp_path / "stub" / f"python{version}"
    stub.write_text("#!/bin/sh\necho none is chosen >&2\nexit 127\n")
    stub.chmod(0o755)
    moved = tmp_path / version / "bin" / f"python{version}"
    moved.parent.mkdir(parents=True)
    moved.write_text("#!/where/the/checkout/was\n")
    moved.chmod(0o755)
    monkeypatch.setattr(pythons, "PLACE", tmp_path)
    monkeypatch.setattr(pythons, "RELEASES", ())
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(stub.parent))
    assert pythons.interpreter(version) is None
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / f"python{version}").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{stub.parent}:{tmp_path / 'real'}")
    assert pythons.interpreter(version) == tmp_path / "real" / f"python{version}"


def test_the_table_counts_what_passed_and_failed() -> None:
    """Each environment is a row with its versions and a count for each group of tests; a failure is seen."""
    good = {"python": "3.11.7", "unit": pythons.summary({"a": "ok", "b": "skipped"})}
    bad = {"python": "3.14.0", "unit": pythons.summary({"a": "ok", "b": "FAIL"})}
    assert pythons.report({"3.11 newest": good, "3.14 oldest": bad}).splitlines() == [
        "ENVIRONMENT  PYTHON  UNIT",
        "3.11 newest  3.11.7  1 ok",
        "3.14 oldest  3.14.0  1 ok, 1 FAIL",
    ]
    assert [pythons.is_bad(cell) for cell in ("3 ok", "1 ok, 1 FAIL", "0 ok", "MISSING")] == [False, True, True, True]
