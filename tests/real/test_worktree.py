"""Sessions in git worktrees."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from dev_sessions.sessions.champion_ids import CHAMPIONS, ROLES
from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import DIES, NOT_READY, fake_claude, lose
from tests.support.cli import assert_refused, both, ok, outcome, record, records
from tests.support.git import branches, repository, trust, worktrees
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.users import NOBODY, as_root

pytestmark = pytest.mark.forked


@pytest.fixture
def repo(home: Home) -> Path:
    """Provide a repository with a commit, in the home."""
    return repository(home)


def is_as_before(home: Home, repo: Path) -> bool:
    """Return whether nothing of a worktree is left: no folder, branch, record or process."""
    assert worktrees(home, repo) == []
    assert branches(home, repo) == {"main"}
    assert not Path(f"{repo}.worktrees").exists()
    assert records(home, "--all") == {}
    return bool(poll(lambda: True if home.leftovers() == {} else None, Deadline(30), 0.1))


# Codex is the agent of most other tests here.
@pytest.mark.parametrize("agent", ["claude", pytest.param("codex", marks=pytest.mark.matrix)])
def test_a_session_works_in_a_worktree_that_goes_with_it(home: Home, repo: Path, agent: str) -> None:
    """A session's worktree is beside the repository, on a branch of its name; kill removes it and keeps the branch."""
    done = home.cli("create", "--cli", agent, "--worktree", "--id", "fizz-top", cwd=repo / "sub")
    tree = Path(f"{repo}.worktrees/fizz-top")
    assert (done.returncode, done.stdout) == (0, "Created session fizz-top\n")
    assert done.stderr == f"Created worktree {tree}/sub on branch fizz-top\n"
    for found in (record(home, "fizz-top"), records(home)["fizz-top"]):
        assert (found["worktree"], found["worktreeBranch"], found["path"]) == (str(tree), "fizz-top", f"{tree}/sub")
    assert f"{tree}/sub" in ok(home.cli("ask", "fizz-top", "run pwd; cat file; git branch --show-current"))
    assert "fizz-top" in ok(home.cli("last-message", "fizz-top"))
    assert worktrees(home, repo) == [tree]
    assert ok(home.cli("kill", "fizz-top")) == "Killed session fizz-top\n"
    assert worktrees(home, repo) == []
    assert not tree.parent.exists()
    assert branches(home, repo) == {"main", "fizz-top"}
    assert home.leftovers() == {}


@pytest.mark.parametrize("agent", [pytest.param("claude", marks=pytest.mark.soak), "codex"])
def test_work_that_is_only_in_a_worktree_is_never_removed(home: Home, repo: Path, agent: str) -> None:
    """kill ends a session whose work is nowhere else, and prints where its worktree stays and why."""
    cases = {
        "touch new.txt": "it holds uncommitted files (new.txt)",
        "touch build.log": "it holds ignored files (build.log)",
        "touch new.txt; git add .; git commit -q -m work": "has 1 commit that is on no other branch",
    }
    for number, (work, why) in enumerate(cases.items()):
        sid = f"zed-{number}"
        assert (
            home.cli("create", "-q", "--cli", agent, f"--worktree=work/{number}", "--id", sid, cwd=repo).returncode == 0
        )
        ok(home.cli("ask", sid, f"run {work}"))
        done = home.cli("kill", sid)
        assert (done.returncode, done.stdout) == (0, f"Killed session {sid}\n")
        assert done.stderr.startswith(f"The worktree of {sid} was left in {repo}.worktrees/{sid}: ")
        assert why in done.stderr
        assert f"work/{number}" in branches(home, repo)
        assert f"; to go on in it: dev-sessions create --path {repo} --worktree=work/{number}; " in done.stderr
    assert len(worktrees(home, repo)) == len(cases)
    assert records(home, "--all") == {}
    for number in range(len(cases)):
        again = home.cli("create", "--cli", agent, f"--worktree=work/{number}", cwd=repo)
        assert again.stderr == f"Took over worktree {repo}.worktrees/zed-{number} on branch work/{number}\n"
        sid = again.stdout.split()[-1]
        assert "new.txt" in ok(home.cli("ask", sid, "run ls")) or number == 1
        taken = home.cli("create", "--cli", agent, f"--worktree=work/{number}", cwd=repo)
        assert_refused(taken, f"{sid} works in {repo}.worktrees/zed-{number}, on the branch work/{number}; ")
        killed = home.cli("kill", sid)
        throw_away = killed.stderr.rpartition("; to throw it away: ")[2]
        ok(home.run("bash", "-c", throw_away))
    assert worktrees(home, repo) == []


def test_a_create_that_fails_leaves_the_worktree_that_it_took_over(home: Home, repo: Path) -> None:
    """A worktree that was kept survives a create that fails, with all that is in it."""
    sid = ok(home.cli("create", "-q", "--cli", "codex", "--worktree=work", cwd=repo)).strip()
    tree = Path(f"{repo}.worktrees/{sid}")
    (tree / "new.txt").write_text("work")
    assert home.cli("kill", sid).returncode == 0
    assert home.cli("create", "--worktree=work", cwd=repo, env=fake_claude(home, DIES)).returncode == 1
    assert (tree / "new.txt").read_text() == "work"
    assert "work" in branches(home, repo)


def test_a_claude_that_does_not_start_leaves_no_worktree(home: Home, repo: Path) -> None:
    """If the agent dies at its start or create is interrupted, neither the worktree nor its new branch is left."""
    done = home.cli("create", "--worktree", cwd=repo, env=fake_claude(home, DIES))
    assert done.returncode == 1
    assert "no space on the moon" in done.stderr
    assert is_as_before(home, repo)
    running = home.popen("dev-sessions", "create", "--worktree", cwd=repo, env=fake_claude(home, NOT_READY))
    assert poll(lambda: "thinking" in home.tmux("capture-pane", "-p").stdout or None, Deadline(30), 0.1)
    assert len(worktrees(home, repo)) == 1
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=30)
    assert is_as_before(home, repo)


def test_a_folder_that_claude_trusts_is_trusted_in_a_worktree(model: ScriptedModel) -> None:
    """Claude trusts a worktree of a trusted repository; of an untrusted one, nothing is left."""
    with Home(model.port, trusted=False) as home:
        repo = repository(home, trusted=False)
        done = home.cli("create", "-q", "--worktree", cwd=repo)
        assert done.returncode == 1
        assert done.stderr.startswith(f"Claude Code asks whether it may trust {repo}: accept that with ")
        assert is_as_before(home, repo)
        trust(home, repo)
        sid = ok(home.cli("create", "-q", "--worktree", cwd=repo)).strip()
        assert ok(home.cli("ask", sid, "say hello")) == "hello\n"


def test_what_a_killed_create_of_codex_left_goes_with_its_worktree(home: Home, repo: Path) -> None:
    """A create that was killed in a hanging hook is cleaned up without waiting for the hook."""
    hook = repo / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {home.path}/hooked\nexec sleep 1000\n")
    hook.chmod(0o755)
    running = home.popen("dev-sessions", "create", "--cli", "codex", "--worktree", "--id", "fizz-top", cwd=repo)
    assert poll(lambda: (home.path / "hooked").exists() or None, Deadline(30), 0.05)
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=30)
    (tree,) = worktrees(home, repo)
    hook.unlink()
    assert ok(home.cli("kill", "fizz-top")) == "Killed session fizz-top\n"
    assert not tree.exists()
    assert records(home, "--all") == {}


def test_a_create_of_codex_that_is_ended_while_git_works_leaves_nothing(home: Home, repo: Path) -> None:
    """After an interrupted create, neither a part of the worktree nor its branch nor a running hook is left."""
    hook = repo / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {home.path}/hooked\nsleep 1000\n")
    hook.chmod(0o755)
    running = home.popen("dev-sessions", "create", "--cli", "codex", "--worktree", cwd=repo)
    assert poll(lambda: (home.path / "hooked").exists() or None, Deadline(30), 0.05)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=20)
    assert running.returncode == 128 + signal.SIGTERM
    assert is_as_before(home, repo)


def test_a_name_whose_branch_exists_is_not_chosen(home: Home, repo: Path) -> None:
    """A session id whose branch exists is skipped, unless it was requested."""
    names = [f"{champion}-{role}" for champion in CHAMPIONS for role in ROLES]
    used = [name for number, name in enumerate(names) if number % 4]
    head = ok(home.run("git", "rev-parse", "HEAD", cwd=repo)).strip()
    orders = "".join(f"create refs/heads/{name} {head}\n" for name in used)
    ok(home.run("git", "update-ref", "--stdin", cwd=repo, stdin=orders))
    for _ in range(3):
        sid = ok(home.cli("create", "-q", "--cli", "codex", "--worktree", cwd=repo)).strip()
        assert sid not in used
        assert record(home, sid)["worktreeBranch"] == sid
    done = home.cli("create", "--cli", "codex", "--worktree", "--id", used[0], cwd=repo)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (f"Branch {used[0]} already exists; use it with --worktree={used[0]}, or name another one\n")
    ok(home.cli("create", "-q", "--cli", "codex", f"--worktree={used[0]}", "--id", used[0], cwd=repo))
    assert len(records(home)) == 4


def test_worktrees_at_the_same_time_do_not_mix(home: Home, repo: Path) -> None:
    """Sessions that are created at the same time get a worktree each."""
    create = ("dev-sessions", "create", "-q", "--cli", "codex", "--worktree")
    running = [home.popen(*create, cwd=repo) for _ in range(4)]
    said = [child.communicate(timeout=60) for child in running]
    assert [error for _, error in said] == [""] * 4
    assert {path.name for path in worktrees(home, repo)} == {name.strip() for name, _ in said}
    assert len(ok(home.cli("kill", "--all")).splitlines()) == 5
    assert worktrees(home, repo) == []


@both
def test_without_a_repository_there_is_no_worktree(home: Home, agent: str) -> None:
    """Outside a repository, --worktree fails with one line, and nothing is started."""
    done = home.cli("create", "--cli", agent, "--worktree", cwd=home.workspace())
    assert (done.returncode, done.stdout) == (1, "")
    assert f"a git repository with a working tree, and {home.workspace()} is not in one" in done.stderr
    assert done.stderr.count("\n") == 1
    assert records(home, "--all") == {}
    assert home.leftovers() == {}


@as_root
def test_no_session_works_in_a_folder_of_another_user(home: Home, repo: Path) -> None:
    """If another user owns the folder for worktrees, create says whose it is and leaves nothing behind."""
    folder = Path(f"{repo}.worktrees")
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    done = home.cli("create", "--worktree", cwd=repo)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"{folder} belongs to user {NOBODY}, not to you (user {os.geteuid()})")
    assert list(folder.iterdir()) == []
    assert ok(home.run("git", "branch", "--format=%(refname:short)", cwd=repo)) == "main\n"
    assert records(home, "--all") == {}


def test_a_session_that_dies_unused_is_named_with_its_worktree(home: Home, repo: Path) -> None:
    """list says which session ended before its first message, and what became of its worktree."""
    first, second = (ok(home.cli("create", "-q", "--worktree", cwd=repo)).strip() for _ in range(2))
    kept = Path(f"{repo}.worktrees/{second}")
    (kept / "new.txt").write_text("work")
    other = record(home, second)["claudePid"]
    lose(home, first, "server")
    # It ends with the server as well, but not at the same moment.
    assert poll(lambda: other not in home.leftovers() or None, Deadline(30), 0.1)
    done = home.cli("list")
    assert done.stdout == "No active sessions\n"
    warnings = done.stderr.splitlines()
    gone = "ended before it was sent a message; its"
    assert f"Warning: {first} {gone} record and its worktree were deleted" in warnings
    assert f"Warning: {second} {gone} record was deleted" in warnings
    assert any(line.startswith(f"Warning: The worktree of {second} was left in {kept}: ") for line in warnings)
    assert worktrees(home, repo) == [kept]
    assert outcome(home.cli("list")) == (0, "No active sessions\n", "")


def test_ignored_files_are_copied_as_claude_does(home: Home, repo: Path) -> None:
    """A session's worktree has the ignored files that `claude --worktree` copies for the same `.worktreeinclude`."""
    (repo / ".gitignore").write_text(".env*\nmodules/\nbuild/\n*.log\n.claude\n")
    (repo / ".worktreeinclude").write_text(
        ".env*\n!.env.skip\nmodules/\nbuild/keep/\nuntracked\n/sub/*.log\nsub/file\n"
    )
    ok(home.run("git", "add", ".", cwd=repo))
    ok(home.run("git", "commit", "-q", "-m", "ignore", cwd=repo))
    for name in (".env", ".env.skip", "a/.env.b", "modules/x/y", "build/keep/z", "build/w", "untracked", "sub/1.log"):
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(name)
    (repo / ".env.link").symlink_to("x")
    (repo / "modules" / "link").symlink_to("x")
    command = "IS_SANDBOX=1 claude --dangerously-skip-permissions --worktree theirs"
    ok(home.tmux("new-session", "-d", "-c", repo, command))
    theirs = repo / ".claude" / "worktrees" / "theirs"
    wanted = [".env", "a/.env.b", "build/keep/z", "modules/x/y", "sub/1.log"]
    assert poll(lambda: True if copied(home, theirs) == wanted else None, Deadline(30), 0.1), copied(home, theirs)
    sid = ok(home.cli("create", "-q", "--cli", "codex", "--worktree", cwd=repo)).strip()
    assert copied(home, Path(record(home, sid)["worktree"])) == wanted
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert not Path(f"{repo}.worktrees").exists()


def copied(home: Home, tree: Path) -> list[str]:
    """Return the untracked files of a worktree."""
    return home.run("git", "-C", tree, "ls-files", "--others").stdout.splitlines()
