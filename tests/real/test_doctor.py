"""doctor in homes with problems."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from filelock import FileLock

from dev_sessions.claude.command_line import manual_start_command
from dev_sessions.gateway.service import service_manager
from dev_sessions.system import pid_namespace
from tests.support.claude import create_stand_in, lose
from tests.support.cli import create, ok, record, records
from tests.support.codex import daemon
from tests.support.gateway import running_gateway
from tests.support.git import repository
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.remote import NAME, Remote

pytestmark = pytest.mark.forked

NO_WORKTREES = "none without a session, in the repositories of this folder and of sessions"


def doctor(home: Home, cwd: Path | None = None, **env: str) -> dict[str, tuple[str, str]]:
    """Return the sign and the text of each check of doctor, by name."""
    return lines(home.cli("doctor", cwd=cwd or home.workspace(), env=env))


def lines(done: CompletedProcess[str]) -> dict[str, tuple[str, str]]:
    """Return the sign and the text of each line, and check that the exit code matches."""
    found = {}
    for line in done.stdout.splitlines():
        match = re.fullmatch(r"([✓!✗]) (\S+(?: \S+)*) {2,}(\S.*)", line)
        assert match, line
        found[match[2]] = (match[1], match[3])
    assert (done.returncode, done.stderr) == (int(any(sign == "✗" for sign, _ in found.values())), "")
    return found


def test_all_is_well(home: Home) -> None:
    """In a home with both agents, doctor only suggests to install the skills, and starts and changes nothing."""
    found = doctor(home)
    assert [name for name, (sign, _) in found.items() if sign != "✓"] == ["skills"]
    assert found["claude login"] == ("✓", "by ANTHROPIC_API_KEY")
    assert found["codex login"] == ("✓", "by its provider fake")
    assert not (home.path / ".dev-sessions").exists()
    assert home.leftovers() == {}
    rows = json.loads(ok(home.cli("doctor", "--json")))
    assert {row["name"]: row["verdict"] for row in rows} == {
        name: "ok" if sign == "✓" else "warning" for name, (sign, _) in found.items()
    }
    ok(home.cli("install-skill", "--global", "--claude"))
    skill = home.path / ".claude" / "skills" / "dev-sessions"
    assert doctor(home)["skills"] == ("✓", str(skill))
    (skill / "SKILL.md").write_text("something else")
    sign, text = doctor(home)["skills"]
    assert (sign, text.startswith(f"not of this version: {skill}/SKILL.md")) == ("!", True)


def test_one_agent_is_enough_and_none_is_not(home: Home) -> None:
    """Without Claude Code and tmux there are only warnings, as Codex works; without any agent there are errors."""
    (codex,) = (place for place in home.env["PATH"].split(os.pathsep) if (Path(place) / "codex").exists())
    bare = home.path / "bare"
    bare.mkdir()
    (bare / "node").symlink_to(str(shutil.which("node")))
    found = doctor(home, PATH=os.pathsep.join([codex, str(bare)]))
    assert (found["claude"][0], found["tmux"][0], found["codex"][0]) == ("!", "!", "✓")
    assert "install it with: curl -fsSL https://claude.ai/install.sh | bash" in found["claude"][1]
    found = doctor(home, PATH=str(bare))
    assert (found["claude"][0], found["tmux"][0], found["codex"][0]) == ("✗", "!", "✗")


@pytest.mark.parametrize(
    "missing",
    [
        *("repository", "key"),
        *(pytest.param(missing, marks=pytest.mark.soak) for missing in ("trust", "bypass", "onboarding")),
    ],
)
def test_what_claude_would_ask_is_known_before(model: ScriptedModel, missing: str) -> None:
    """create fails because of a dialog exactly where doctor says that Claude asks something at its start."""
    with Home(model.port, trusted=missing != "trust", bypass_accepted=missing != "bypass") as home:
        folder = home.workspace("repo")
        state = json.loads((home.path / ".claude.json").read_text())
        if missing == "repository":
            ok(home.run("git", "init", "-q", cwd=folder))
        if missing == "key":
            del state["customApiKeyResponses"]
        if missing == "onboarding":
            del state["hasCompletedOnboarding"]
        (home.path / ".claude.json").write_text(json.dumps(state))
        sign, text = doctor(home, folder)["claude start"]
        assert sign == "!"
        assert f"run {manual_start_command()} in {folder} once and answer" in text
        assert "Claude Code asks " in home.cli("create", cwd=folder).stderr
        state = json.loads((home.path / ".claude.json").read_text())
        (home.path / ".claude" / "settings.json").write_text('{"skipDangerousModePermissionPrompt": true}')
        state["hasCompletedOnboarding"] = True
        state["customApiKeyResponses"] = {"approved": [home.env["ANTHROPIC_API_KEY"][-20:]]}
        state.setdefault("projects", {})[str(folder)] = {"hasTrustDialogAccepted": True}
        (home.path / ".claude.json").write_text(json.dumps(state))
        assert doctor(home, folder)["claude start"] == ("✓", f"asks nothing in {folder}")
        ok(home.cli("create", cwd=folder))


def test_the_store(home: Home) -> None:
    """A store that cannot be read or that stays locked is broken; the process that holds the lock is named."""
    create(home, "codex")
    store = home.path / ".dev-sessions" / "sessions.json"
    (store.parent / ".sessions.holder").write_text(f"4217 {pid_namespace.domain()}")
    with FileLock(store.parent / ".sessions.flock"):
        assert doctor(home)["lock"] == ("✗", "the store has been locked for 1 s by process 4217; end it if it hangs")
    found = doctor(home)
    assert (found["lock"], found["store"]) == (("✓", "free"), ("✓", f"1 session in {store}"))
    store.parent.chmod(0o755)
    assert doctor(home)["store"][0] == "!"
    store.parent.chmod(0o700)
    (store.parent / "sessions.json.lock").mkdir()
    os.utime(store.parent / "sessions.json.lock", (0, 0))
    assert doctor(home)["lock"][0] == "!"
    kept = store.read_text()
    store.write_text("{")
    found = doctor(home)
    assert found["store"][0] == "✗"
    assert found["sessions"][0] == "!"
    assert found["claude"][0] == "✓"
    store.write_text(kept)


def test_what_is_left_of_sessions(home: Home) -> None:
    """Lost sessions, records of killed creates and tmux sessions without a record are reported, and stay unchanged."""
    sid, other = create_stand_in(home), create(home, "codex")
    assert doctor(home)["sessions"] == ("✓", "2 sessions here, none lost")
    lose(home, sid, "process")
    ok(home.tmux("new-session", "-d", "-s", "dev-nobody-top"))
    store = home.path / ".dev-sessions" / "sessions.json"
    content = json.loads(store.read_text())
    (record,) = (record for record in content["sessions"] if record["championId"] == other)
    content["sessions"].append({**record, "championId": "zed-mid", "claimedBy": "1:1"})
    store.write_text(json.dumps(content))
    found = lines(home.cli("doctor", cwd=home.workspace()))
    done = home.cli("doctor", "--json").stdout
    texts = [row["text"] for row in json.loads(done) if row["name"] == "sessions"]
    assert texts[0].startswith("zed-mid: left by a create that was killed")
    assert texts[1].startswith(f"lost: {sid}; to see which can be recovered: dev-sessions recover")
    assert found["tmux sessions"][0] == "!"
    assert "dev-nobody-top" in found["tmux sessions"][1]
    assert sorted(json.loads(store.read_text())["sessions"], key=str) == sorted(content["sessions"], key=str)


def test_the_app_server(home: Home) -> None:
    """doctor does not start the app-server, compares its version with the installed one, and survives a hanging one."""
    assert doctor(home)["app-server"] == ("✓", "not running; the first Codex session starts it")
    ok(home.cli("ask", create(home, "codex"), "say hello"))
    sign, text = doctor(home)["app-server"]
    assert (sign, bool(re.fullmatch(r"\d+\.\d+\.\d+ is running \(process \d+\)", text))) == ("✓", True)
    newer = home.path / "newer"
    newer.mkdir()
    (newer / "codex").write_text("#!/bin/sh\necho codex-cli 0.999.0\n")
    (newer / "codex").chmod(0o755)
    sign, text = doctor(home, PATH=f"{newer}:{home.env['PATH']}")["app-server"]
    assert (sign, "but 0.999.0 is installed" in text) == ("!", True)
    servers = [pid for pid, line in home.leftovers().items() if "app-server" in line]
    for pid in servers:
        os.kill(pid, signal.SIGSTOP)
    found = doctor(home)
    for pid in servers:
        os.kill(pid, signal.SIGCONT)
    assert (found["app-server"][0], found["sessions"][0], found["store"][0]) == ("!", "!", "✓")


def test_an_agent_that_is_too_old(home: Home) -> None:
    """An agent that is too old is broken, even if the other one works; the error is that of create."""
    older = home.path / "older"
    for name, printed, needed in (
        ("claude", "2.1.249 (Claude Code)", "Claude Code 2.1.249 is too old: 2.1.250 or newer is needed; "),
        ("codex", "codex-cli 0.149.9", "Codex 0.149.9 is too old: 0.150.0 or newer is needed; "),
    ):
        older.mkdir()
        (older / name).write_text(f"#!/bin/sh\necho '{printed}'\n")
        (older / name).chmod(0o755)
        path = f"{older}:{home.env['PATH']}"
        sign, text = doctor(home, PATH=path)[name]
        assert (sign, text.startswith(needed)) == ("✗", True)
        done = home.cli("create", "--cli", name, env={"PATH": path})
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{text}\n")
        shutil.rmtree(older)


def test_a_program_that_hangs(home: Home) -> None:
    """An agent that hangs is reported, and no process of it is left."""
    slow = home.path / "slow"
    slow.mkdir()
    (slow / "claude").write_text("#!/bin/sh\nsleep 60\n")
    (slow / "claude").chmod(0o755)
    found = doctor(home, PATH=f"{slow}:{home.env['PATH']}")
    assert (found["claude"][0], found["codex"][0]) == ("!", "✓")
    assert "claude --version" in found["claude"][1]
    assert home.leftovers() == {}


def test_the_gateway(home: Home) -> None:
    """doctor reports a gateway's version, another program on its port, and an installed gateway without an answer."""
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        port = str(stranger.getsockname()[1])
    assert doctor(home, DEV_SESSIONS_GATEWAY_PORT=port)["gateway"][0] == "✓"
    service = home.path / service_manager(sys.platform).service_file.relative_to(Path.home())
    service.parent.mkdir(parents=True)
    service.write_text(f"ExecStart=dev-sessions gateway --port {port}\n")
    sign, text = doctor(home)["gateway"]
    assert (sign, f"installed as {service}, but http://127.0.0.1:{port} does not answer" in text) == ("!", True)
    service.unlink()
    with running_gateway(home, "--port", "0") as (gateway, _):
        port = gateway.url.rpartition(":")[2]
        sign, text = doctor(home, DEV_SESSIONS_GATEWAY_PORT=port)["gateway"]
        assert (sign, text.startswith("version ")) == ("✓", True)
    sign, text = doctor(home, DEV_SESSIONS_GATEWAY_PORT=home.env["ANTHROPIC_BASE_URL"].rpartition(":")[2])["gateway"]
    assert (sign, text.startswith("something else answers")) == ("!", True)


def test_in_a_container(home: Home, tmp_path: Path) -> None:
    """In a container, doctor checks the gateway, its token and the workspace's path on the host."""
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o600)
    with running_gateway(home, "--port", "0", "--token-file", str(token)) as (gateway, container):
        found = lines(container.cli("doctor", DEV_SESSIONS_GATEWAY_TOKEN="secret"))
        assert {name: sign for name, (sign, _) in found.items()} == dict.fromkeys(
            ("python", "workspace", "gateway", "token"), "✓"
        )
        assert lines(container.cli("doctor"))["token"][0] == "✗"
        assert lines(container.cli("doctor", DEV_SESSIONS_GATEWAY_TOKEN_FILE=str(token)))["token"] == ("✓", "accepted")
        sign, text = lines(container.cli("doctor", DEV_SESSIONS_GATEWAY_TOKEN_FILE="/nowhere"))["token"]
        assert (sign, text.startswith("Cannot read the token in /nowhere: No such file")) == ("✗", True)
        assert lines(container.cli("doctor", DEV_SESSIONS_GATEWAY_TOKEN="wrong"))["token"][0] == "✗"
        assert lines(container.cli("doctor", HOST_PATH=""))["workspace"][0] == "✗"
        gateway.end()
        found = lines(container.cli("doctor"))
        assert found["gateway"][0] == "✗"
        assert "run dev-sessions gateway on the host" in found["gateway"][1]


def test_other_machines(home: Home, model: ScriptedModel) -> None:
    """doctor reports the version on every machine with a session, or that it cannot be reached."""
    with Home(model.port) as far, Remote(home, far) as remote:
        ok(home.cli("create", "-q", "--cli", "codex", "--host", NAME))
        assert doctor(home)[f"host {NAME}"][0] == "✓"
        (remote.bin / "dev-sessions").write_text("#!/bin/sh\necho 0.3.0\n")
        assert "0.3.0" in doctor(home)[f"host {NAME}"][1]
        remote.stop()
        found = doctor(home)
        assert found[f"host {NAME}"][0] == "!"
        assert "ssh" in found[f"host {NAME}"][1]


def test_worktrees_without_a_session_are_listed(home: Home) -> None:
    """A worktree that kill has left is shown with its size, what is unmerged, and how to go on in it or remove it,
    until that is done."""
    repo = repository(home)
    sid = ok(home.cli("create", "-q", "--cli", "codex", "--worktree", cwd=repo)).strip()
    tree = Path(f"{repo}.worktrees/{sid}")
    assert doctor(home, repo)["worktree"] == ("✓", NO_WORKTREES)
    ok(home.run("git", "commit", "-q", "--allow-empty", "-m", "work", cwd=tree))
    assert home.cli("kill", sid).returncode == 0
    sign, text = doctor(home, repo)["worktree"]
    command = f"git -C {repo} worktree remove --force {tree}"
    assert (sign, text) == (
        "!",
        (
            f"{tree} (0.1 MB) has no session: its branch {sid} has 1 commit that is on no other branch; to go on in it:"
            f" dev-sessions create --path {repo} --worktree={sid}; to throw it away: {command}"
        ),
    )
    ok(home.run(*command.split()))
    assert doctor(home, repo)["worktree"] == ("✓", NO_WORKTREES)


def test_a_session_that_was_archived_in_codex_is_named(home: Home) -> None:
    """Doctor and recover name a session that a person has archived; the command that recover prints brings it back."""
    sid = create(home, "codex")
    ok(home.cli("ask", sid, "say one"))
    thread = record(home, sid)["internalId"]
    with daemon(home).connect() as client:
        client.call("thread/archive", {"threadId": thread})
    assert doctor(home)["sessions"] == (
        "!",
        f"archived in Codex: {sid}; what brings one back says: dev-sessions recover ID",
    )
    done = home.cli("recover")
    line = f"{sid} was archived in Codex; bring it back with: codex unarchive {thread}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)
    assert f"bring it back with: codex unarchive {thread}" in home.cli("send", sid, "say two").stderr
    assert f"bring it back with: codex unarchive {thread}" in home.cli("fork", sid).stderr
    assert home.run("codex", "unarchive", thread).returncode == 0
    assert ok(home.cli("ask", sid, "say three")) == "three\n"
    assert doctor(home)["sessions"][0] == "✓"


def test_agents_have_to_find_the_command(home: Home) -> None:
    """doctor warns if a new shell does not find dev-sessions, although this one does."""
    sign, found = doctor(home)["command"]
    assert (sign, Path(found).name) == ("✓", "dev-sessions")
    for name in (".bashrc", ".bash_profile", ".profile"):
        (home.path / name).write_text("PATH=/usr/bin:/bin\n")
    sign, text = doctor(home)["command"]
    assert sign == "!"
    assert text.startswith("a new bash does not find dev-sessions, so agents may not; install it with pipx, or add ")


def test_what_is_safe_is_fixed(home: Home) -> None:
    """doctor --fix removes what killed commands left, closes the folder and updates skills, and says so; sessions
    stay."""
    sid = create(home, "codex")
    state = home.path / ".dev-sessions"
    state.chmod(0o755)
    (state / "launch").mkdir(mode=0o700, exist_ok=True)
    (state / "launch" / "old-top.json").write_text("{}")
    ok(home.cli("install-skill", "--claude"))
    skill = home.path / ".claude" / "skills" / "handoff" / "SKILL.md"
    skill.write_text(skill.read_text() + "older")
    add_abandoned(home, "cut-off")
    done = home.cli("doctor", "--fix", "--json", cwd=home.workspace())
    rows = json.loads(done.stdout)
    assert [row["text"] for row in rows if row["name"] == "fixed"] == [
        f"nobody else may enter {state} any more",
        "ended cut-off, which a killed create had left",
        f"removed {state / 'launch' / 'old-top.json'}, which a killed command had left",
        f"updated the skill {skill}",
    ]
    assert {row["name"]: row["text"] for row in rows if row["verdict"] != "ok"} == {}
    assert not skill.read_text().endswith("older")
    assert [*records(home)] == [sid]
    again = json.loads(home.cli("doctor", "--fix", "--json", cwd=home.workspace()).stdout)
    assert not [row for row in again if row["name"] in ("fixed", "not fixed")]


def test_an_unused_app_server_of_another_codex_home_is_stopped(home: Home) -> None:
    """doctor finds an app-server that no session uses, whatever its CODEX_HOME, and --fix stops it."""
    other = home.path / "other-codex"
    shutil.copytree(home.path / ".codex", other)
    ok(home.cli("create", "-q", "--cli", "codex", cwd=home.workspace(), env={"CODEX_HOME": str(other)}))
    (directory,) = (home.path / ".dev-sessions").glob("codex-*")
    file = home.path / ".dev-sessions" / "sessions.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "sessions": []}))
    sign, text = doctor(home)["app-server"]
    assert (sign, text.endswith("and no session uses it; dev-sessions kill --all ends it")) == ("!", True)
    rows = json.loads(home.cli("doctor", "--fix", "--json", cwd=home.workspace()).stdout)
    fixed = [row["text"] for row in rows if row["name"] == "fixed"]
    assert fixed == [f"stopped Codex's app-server in {directory}, which no session used"]
    assert home.leftovers() == {}


def add_abandoned(home: Home, sid: str) -> None:
    """Write the record that a killed create leaves."""
    file = home.path / ".dev-sessions" / "sessions.json"
    document = json.loads(file.read_text())
    (own,) = document["sessions"]
    claimed = {**own, "championId": sid, "internalId": "", "claimedBy": "1:1"}
    file.write_text(json.dumps({**document, "sessions": [own, claimed]}))
