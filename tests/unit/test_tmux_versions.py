"""The choice of the versions of tmux that the tests run on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.support import tmux_versions
from tests.support.versions import Verdict

VERSIONS = ("3.2a", "3.8", "3.10")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Provide what was run: the version of the tmux that is first on PATH, and pytest's arguments.

    A test fails on 3.8, and 3.5a does not start.
    """
    for version in VERSIONS:
        program = tmp_path / version / "bin" / "tmux"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    moved = tmp_path / "3.5a" / "bin" / "tmux"
    moved.parent.mkdir(parents=True)
    moved.write_text("#!/where/the/checkout/was\n")
    moved.chmod(0o755)
    found: list[tuple[str, list[str]]] = []

    def outcome(arguments: Iterable[str], env: Mapping[str, str]) -> dict[str, Verdict]:
        version = Path(env["PATH"].partition(os.pathsep)[0]).parent.name
        found.append((version, [argument for argument in arguments if not argument.endswith(".py")]))
        return {"a case": "FAIL" if version == "3.8" else "ok"}

    monkeypatch.setattr(tmux_versions, "PLACE", tmp_path)
    monkeypatch.setattr(tmux_versions, "RELEASES", ())
    monkeypatch.setattr(tmux_versions, "outcome", outcome)
    return found


def test_every_version_is_tested_the_oldest_first(
    runs: list[tuple[str, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """All versions are tested and stand side by side in the table, and a failure on one is a failure."""
    assert tmux_versions.main(["-k", "dialogs"]) == 1
    assert runs == [(version, ["-k", "dialogs"]) for version in VERSIONS]
    assert "CASE    tmux 3.2a  tmux 3.8  tmux 3.10\na case  ok         FAIL      ok\n" in capsys.readouterr().out


def test_versions_can_be_chosen(runs: list[tuple[str, list[str]]]) -> None:
    """Only the versions that are named are tested; pytest gets the other arguments."""
    assert tmux_versions.main(["3.10", "3.2a", "-n", "2"]) == 0
    assert runs == [("3.10", ["-n", "2"]), ("3.2a", ["-n", "2"])]


def test_a_version_that_is_not_there_is_named(runs: list[tuple[str, list[str]]]) -> None:
    """A version that is not installed is an error which names those that are."""
    with pytest.raises(SystemExit, match=r"no tmux 3\.4 is here; there are 3\.2a, 3\.8, 3\.10"):
        tmux_versions.main(["3.4"])
    assert runs == []
