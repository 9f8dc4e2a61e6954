"""`install-skill`: where it writes, what it replaces and what it leaves alone."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from dev_sessions import skills
from dev_sessions.errors import SkillNotInstalled

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("delegate", "dev-sessions", "handoff")
THEIRS = "---\nname: delegate\ndescription: mine\n---\n\ngenerator: dev-sessions is named here, and it is mine\n"


class User:
    """A user with a home and a project in it."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.project = self.home / "project"
        self.project.mkdir(parents=True)
        self.env = {"HOME": str(self.home), "PATH": os.defpath, "LANG": "C.UTF-8"}

    def install(self, *options: str, under: tuple[str, ...] = (), **env: str) -> CompletedProcess[str]:
        """Run `install-skill` in the project, by way of the program `under`; leave out its advice."""
        done = self.install_with_advice(*options, under=under, **env)
        done.stdout = "".join(line for line in done.stdout.splitlines(True) if not line.startswith("To let "))
        return done

    def install_with_advice(self, *options: str, under: tuple[str, ...] = (), **env: str) -> CompletedProcess[str]:
        """Run `install-skill` in the project."""
        return subprocess.run(
            [*under, sys.executable, "-m", "dev_sessions", "install-skill", *options],
            capture_output=True,
            encoding="utf-8",
            cwd=self.project,
            env={**self.env, **env},
            check=False,
        )

    def files(self) -> set[str]:
        """Return every file below the home."""
        return {str(path.relative_to(self.home)) for path in self.home.rglob("*") if path.is_file()}


@pytest.fixture
def user(tmp_path: Path) -> User:
    """Provide a user of Claude Code."""
    user = User(tmp_path)
    (user.home / ".claude").mkdir()
    return user


def lines(directory: Path, *names: str) -> str:
    """Return the expected output for these skills in that place."""
    return "".join(f"Installed skill: {name} → {directory / name / 'SKILL.md'}\n" for name in names or NAMES)


def test_every_skill_of_the_checkout_is_installed_as_it_is(user: User) -> None:
    """Each skill is installed byte for byte as in this version, and nothing else is written."""
    done = user.install()
    place = user.home / ".claude" / "skills"
    assert (done.returncode, done.stdout, done.stderr) == (0, lines(place), "")
    reference = ".claude/skills/dev-sessions/reference.md"
    assert user.files() == {*(f".claude/skills/{name}/SKILL.md" for name in NAMES), reference}
    for name in NAMES:
        source = ROOT / "skills" / name
        files = {path.name for path in source.iterdir()}
        assert files - {"reference.md"} == {"SKILL.md"}, "what an agent reads first is one file, so that it is atomic"
        assert (place / name / "SKILL.md").read_bytes() == (source / "SKILL.md").read_bytes()


def test_it_is_for_the_agents_that_are_there(user: User) -> None:
    """Without an option, the skills are installed for each agent that has a configuration folder."""
    (user.home / ".codex").mkdir()
    claude, codex = user.home / ".claude" / "skills", user.home / ".codex" / "skills"
    assert user.install().stdout == lines(claude) + lines(codex)
    assert user.install("--codex").stdout == lines(codex)
    assert user.install("--claude", "--codex", "--global").stdout == lines(claude) + lines(codex)
    (claude.parent).rename(user.home / "away")
    assert user.install().stdout == lines(codex)


def test_without_any_agent_it_is_for_claude_with_a_note(user: User) -> None:
    """A user who has neither agent yet is informed which one was chosen."""
    (user.home / ".claude").rmdir()
    done = user.install()
    assert done.stdout == lines(user.home / ".claude" / "skills")
    note = f"Neither {user.home}/.claude nor {user.home}/.codex exists; installing for Claude Code\n"
    assert (done.returncode, done.stderr) == (0, note)


def test_local_is_the_current_folder(user: User) -> None:
    """With --local the skills are installed in the project."""
    done = user.install("--local", "--claude", "--codex")
    assert done.stdout == lines(user.project / ".claude" / "skills") + lines(user.project / ".codex" / "skills")
    assert {name.partition("/")[0] for name in user.files()} == {"project"}


def test_the_agents_own_folders_are_honoured(user: User) -> None:
    """Skills are installed below CLAUDE_CONFIG_DIR and CODEX_HOME where these are set."""
    claude, codex = user.home / "c", user.home / "x"
    done = user.install("--claude", "--codex", CLAUDE_CONFIG_DIR=str(claude), CODEX_HOME=str(codex))
    assert done.stdout == lines(claude / "skills") + lines(codex / "skills")
    assert user.install(CLAUDE_CONFIG_DIR=str(claude), CODEX_HOME=str(codex)).stdout == done.stdout


def test_in_a_container_it_acts_on_the_container(user: User) -> None:
    """A container needs no gateway to get its skills."""
    done = user.install(DEV_SESSIONS_SANDBOX="1", DEV_SESSIONS_GATEWAY_URL="http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (0, lines(user.home / ".claude" / "skills"))


def test_an_older_skill_of_ours_is_replaced(user: User) -> None:
    """Installing again brings the text of this version, and what was beside it stays."""
    folder = user.home / ".claude" / "skills" / "delegate"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_bytes(b"---\r\nname: delegate\r\nmetadata:\r\n  generator: dev-sessions\r\n---\r\nold")
    (folder / "notes.md").write_text("mine")
    assert user.install().returncode == 0
    assert (folder / "SKILL.md").read_bytes() == (ROOT / "skills" / "delegate" / "SKILL.md").read_bytes()
    assert {path.name for path in folder.iterdir()} == {"SKILL.md", "notes.md"}


def test_a_skill_that_is_not_ours_is_left_alone(user: User) -> None:
    """A skill of the same name that somebody else wrote stays; the others are installed all the same."""
    place = user.home / ".claude" / "skills"
    (place / "delegate").mkdir(parents=True)
    file = place / "delegate" / "SKILL.md"
    file.write_text(THEIRS)
    done = user.install()
    assert (done.returncode, done.stdout) == (1, lines(place, "dev-sessions", "handoff"))
    assert done.stderr == (
        f"Skill delegate was not installed: {file} is not from dev-sessions; move it away to install this one\n"
    )
    assert file.read_text() == THEIRS


def test_nothing_is_written_through_a_link(user: User) -> None:
    """A skill that is linked from elsewhere is not changed there; one that is up to date is no error."""
    place = user.home / ".claude" / "skills"
    place.mkdir()
    elsewhere = user.home / "elsewhere"
    elsewhere.mkdir()
    old = b"---\nmetadata:\n  generator: dev-sessions\n---\n"
    (elsewhere / "SKILL.md").write_bytes(old)
    (place / "handoff").symlink_to(elsewhere)
    (place / "dev-sessions").symlink_to(ROOT / "skills" / "dev-sessions")
    done = user.install()
    assert (done.returncode, done.stdout) == (1, lines(place, "delegate", "dev-sessions"))
    assert "is reached by a link; remove the link" in done.stderr
    assert (elsewhere / "SKILL.md").read_bytes() == old


@pytest.mark.parametrize("what", ["a pipe", "a link to a device", "a large file"])
def test_what_is_no_skill_is_not_read(user: User, what: str) -> None:
    """A file of another kind in the place of a skill, as a repository may have one, is named and not read."""
    place = user.home / ".claude" / "skills"
    (place / "delegate").mkdir(parents=True)
    file = place / "delegate" / "SKILL.md"
    if what == "a pipe":
        os.mkfifo(file)
    elif what == "a link to a device":
        file.symlink_to("/dev/zero")
    else:
        with file.open("wb") as stream:
            stream.truncate(2**31)
    done = user.install()
    assert (done.returncode, done.stdout) == (1, lines(place, "dev-sessions", "handoff"))
    assert done.stderr.startswith(f"Skill delegate was not installed: cannot write {file} (")
    assert what == "a large file" or "move away what is in its place" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("where", [".claude", ".claude/skills", ".claude/skills/delegate"])
def test_a_place_that_cannot_be_written_is_named(user: User, where: str) -> None:
    """An obstacle is reported as an error with its path, without a traceback."""
    (user.home / ".claude").rmdir()
    (user.home / where).parent.mkdir(parents=True, exist_ok=True)
    (user.home / where).write_text("a file")
    done = user.install("--claude")
    first = f"Skill delegate was not installed: cannot write {user.home}/.claude/skills/delegate/SKILL.md ("
    assert done.returncode == 1
    assert done.stderr.startswith(first)
    assert len(done.stderr.splitlines()) == (1 if where.endswith("delegate") else 3)
    assert (user.home / where).read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root needs setpriv for this")
def test_a_read_only_place_is_left_as_it_was(user: User) -> None:
    """Without the right to write, nothing changes, and each skill says so."""
    place = user.home / ".claude"
    place.chmod(0o500)
    # Root may write everywhere, unless it gives that up.
    done = user.install(under=("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 else ())
    place.chmod(0o700)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("(Permission denied); make its disk or folder writable, then try again") == 3
    assert user.files() == set()


def test_a_home_that_is_missing_is_not_made(user: User) -> None:
    """A HOME that does not exist is reported, not created."""
    missing = user.home / "missing"
    done = user.install(HOME=str(missing))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{missing} does not exist" in done.stderr
    assert not missing.exists()


def test_a_missing_folder_is_reported(user: User) -> None:
    """--local in a folder that was removed is a one-line error."""
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-m", "dev_sessions", "install-skill", "--local"],
        capture_output=True,
        text=True,
        cwd=user.project,
        env=user.env,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "The current folder no longer exists; change to another one\n"


def test_global_and_local_exclude_each_other(user: User) -> None:
    """--global and --local together are a usage error."""
    assert user.install("--global", "--local").returncode == 2


def test_an_install_that_is_cut_off_leaves_the_old_skill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle leaves what was there, and nothing beside it."""
    (tmp_path / ".claude").mkdir()
    place = tmp_path / ".claude" / "skills"
    old = b"---\nmetadata:\n  generator: dev-sessions\n---\nold"
    file = skills.install("handoff", old, place)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SkillNotInstalled, match="No space left on device"):
        skills.install("handoff", b"new", place)
    assert [(path.name, path.read_bytes()) for path in file.parent.iterdir()] == [("SKILL.md", old)]


def test_others_may_read_what_the_user_lets_them_read(tmp_path: Path) -> None:
    """A skill in a shared project has the rights of any file that its user makes."""
    (tmp_path / ".claude").mkdir()
    previous = os.umask(0o022)
    try:
        file = skills.install("handoff", b"text", tmp_path / ".claude" / "skills")
    finally:
        os.umask(previous)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_every_shipped_skill_is_known_as_ours() -> None:
    """The next version recognises what this one installs, and nothing else."""
    shipped = skills.shipped()
    assert tuple(shipped) == NAMES
    assert all(skills.is_generated(text) for text in shipped.values())
    assert not skills.is_generated(THEIRS.encode())
    assert not skills.is_generated(b"")
    assert not skills.is_generated(b"text\n---\nmetadata:\n  generator: dev-sessions\n---\n")


def test_it_says_how_the_agents_may_run_it_without_asking(user: User) -> None:
    """install-skill prints the permission rules that an agent's settings lack, and none that are there."""
    (user.home / ".codex").mkdir()
    advice = user.install_with_advice().stdout.splitlines()[-2:]
    settings, rules = user.home / ".claude" / "settings.json", user.home / ".codex" / "rules" / "default.rules"
    assert [line.split(": ", 1)[0] for line in advice] == [
        f"To let Claude Code run it without asking, add to {settings}",
        f"To let Codex run it outside of its sandbox, add to {rules}",
    ]
    rules.parent.mkdir()
    for file, line in zip((settings, rules), advice, strict=True):
        file.write_text(line.split(": ", 1)[1])
    assert "To let" not in user.install_with_advice().stdout


def test_the_reference_is_installed_beside_its_skill(user: User) -> None:
    """What few tasks need is in a file beside the skill, which an update replaces, too."""
    user.install()
    file = user.home / ".claude" / "skills" / "dev-sessions" / "reference.md"
    shipped = (ROOT / "skills" / "dev-sessions" / "reference.md").read_bytes()
    assert file.read_bytes() == shipped
    file.write_text("old")
    user.install()
    assert file.read_bytes() == shipped


def test_the_skills_can_be_removed_again(user: User) -> None:
    """--uninstall removes the skills that dev-sessions wrote, of any version, and nothing else."""
    (user.home / ".codex").mkdir()
    user.install()
    user.install("--local", "--claude")
    theirs = user.home / ".claude" / "skills" / "delegate" / "SKILL.md"
    theirs.write_text(THEIRS)
    older = user.home / ".claude" / "skills" / "older" / "SKILL.md"
    older.parent.mkdir()
    older.write_text("---\nname: older\nmetadata:\n  generator: dev-sessions\n---\n")
    done = user.install("--uninstall", "--claude")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(line.split()[2] for line in done.stdout.splitlines()) == ["dev-sessions", "handoff", "older"]
    assert user.install("--uninstall").stdout.count("Removed skill: ") == len(NAMES)
    assert user.install("--uninstall", "--local").stdout.count("Removed skill: ") == len(NAMES)
    assert user.install("--uninstall").stdout == "No skills to remove\n"
    assert user.files() == {".claude/skills/delegate/SKILL.md"}
    assert not (user.project / ".claude" / "skills").exists()


def test_a_linked_skill_is_not_removed_through_its_link(user: User, tmp_path: Path) -> None:
    """A skill behind a link, as to a checkout, is left to the user."""
    user.install()
    folder = user.home / ".claude" / "skills" / "handoff"
    folder.rename(tmp_path / "checkout")
    folder.symlink_to(tmp_path / "checkout")
    done = user.install("--uninstall")
    assert done.returncode == 1
    assert done.stderr == f"{folder / 'SKILL.md'} is reached by a link, and was left; remove the link\n"
    assert (tmp_path / "checkout" / "SKILL.md").exists()
