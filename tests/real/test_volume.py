"""Sessions on a file system that finds names in any case and Unicode form, as a Mac's does."""

from __future__ import annotations

import contextlib
import json
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import ok, records
from tests.support.darwin.volume import mounted
from tests.support.git import repository, worktrees
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked


@pytest.fixture
def volume_home(model: ScriptedModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """Provide a home on such a file system, whose user trusts only its `Häuser`."""
    model.forget()
    with tempfile.TemporaryDirectory(prefix="V-", dir="/tmp") as name:
        backing, target = Path(name, "b"), Path(name, "m")
        backing.mkdir()
        target.mkdir()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(mounted(backing, target))
            except OSError as error:
                pytest.skip(f"needs root, /dev/fuse and the right to mount: {error}")
            monkeypatch.setattr(tempfile, "tempdir", str(target))
            with Home(model.port, trusted=False) as home:
                file = home.path / ".claude.json"
                trusted = {str(home.workspace("Häuser")): {"hasTrustDialogAccepted": True}}
                file.write_text(json.dumps({**json.loads(file.read_text()), "projects": trusted}))
                yield home
            assert home.leftovers() == {}


@pytest.mark.parametrize("agent", ["claude", pytest.param("codex", marks=pytest.mark.matrix)])
def test_a_directory_named_in_another_case_is_the_same(volume_home: Home, agent: str) -> None:
    """A session that is created in a directory by another spelling works in it by its own name, which its user trusts,
    and whose instructions and history the agent finds."""
    home = volume_home
    named = unicodedata.normalize("NFD", str(home.path / "hÄUSER"))
    assert Path(named).exists()
    sid = ok(home.cli("create", "-q", "--cli", agent, "--path", named)).strip()
    assert records(home)[sid]["path"] == str(home.path / "Häuser")
    assert f"ran: {home.path}/Häuser" in ok(home.cli("ask", sid, "run pwd"))
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
    assert ok(home.cli("last-message", sid)) == "hello\n"
    second = ok(home.cli("create", "-q", "--cli", agent, cwd=Path(named))).strip()
    assert records(home)[second]["path"] == str(home.path / "Häuser")
    for each in (sid, second):
        assert ok(home.cli("kill", each)) == f"Killed session {each}\n"
    assert records(home, "--all") == {}


def test_worktrees_of_a_repository_named_in_another_case(volume_home: Home) -> None:
    """A worktree of a repository is found by doctor, used again and removed however the repository is spelled, and a
    branch whose name differs from another one's in case only is refused."""
    home = volume_home
    repo = repository(home)
    other = repo.with_name(repo.name.upper())
    create = ["create", "-q", "--cli", "codex"]
    ok(home.cli(*create, "--worktree", "--id", "fizz-top", cwd=other))
    tree = Path(f"{repo}.worktrees/fizz-top")
    assert worktrees(home, repo) == [tree]
    assert records(home)["fizz-top"]["path"] == str(tree)
    assert "worktree            none" in home.cli("doctor", cwd=other).stdout
    done = home.cli(*create, "--worktree=Fizz-Top", cwd=other)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Branch Fizz-Top is fizz-top in this file system; use it with --worktree=fizz-top")
    inside = ok(home.cli(*create, "--path", str(tree).upper().replace(str(home.path).upper(), str(home.path)))).strip()
    assert f"{inside} works there, too" in home.cli("kill", "fizz-top").stderr
    assert worktrees(home, repo) == [tree]
    assert "fizz-top" in home.cli("doctor", cwd=other).stdout
    ok(home.cli("kill", inside))
    ok(home.cli("create", "-q", "--cli", "codex", "--worktree=fizz-top", "--id", "again", cwd=other))
    assert worktrees(home, repo) == [tree]
    ok(home.cli("kill", "again"))
    assert worktrees(home, repo) == []


def test_a_directory_keeps_the_name_by_which_a_process_entered_it(volume_home: Home) -> None:
    """A process stays in the directory that it has entered by its own name, when another finds that by another name."""
    folder = volume_home.workspace("Project")
    with contextlib.chdir(folder):
        assert folder.with_name("pROJECT").is_dir()
        assert Path.cwd() == folder


def test_skills_are_installed_by_any_spelling(volume_home: Home) -> None:
    """install-skill writes a skill once, and finds it as its own again, whatever the case of the folder's name."""
    home = volume_home
    where = home.workspace("Project")
    first = ok(home.cli("install-skill", "--local", cwd=where))
    again = home.cli("install-skill", "--local", cwd=where.with_name("pROJECT"))
    assert again.returncode == 0, again.stderr
    assert again.stdout.lower() == first.lower()
    assert [each.name for each in where.iterdir()] == [".codex", ".claude"]
