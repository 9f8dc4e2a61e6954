"""Claude in a container: the real program in a pid namespace of its own, started by a wrapper as a user would write
it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dev_sessions.errors import Relayed
from dev_sessions.gateway.client import GatewayClient
from dev_sessions.operations import Create
from dev_sessions.system.deadline import Deadline, poll
from tests.support import docker
from tests.support.claude import LONG_TOOL, assert_interrupted, switch_to
from tests.support.cli import create, needs_proc, ok, records
from tests.support.gateway import running_gateway
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.original import create_original
from tests.support.users import assert_not_in_arguments

pytestmark = pytest.mark.forked

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "containers.md").read_text(encoding="utf-8")
#: What makes a container here: process ids of its own, of which Claude has the first.
_CONTAINER = "unshare --pid --fork --mount-proc --kill-child" + ("" if os.geteuid() == 0 else " --map-root-user")
#: Ends with the program that started it.
ATTACHED = f'exec {_CONTAINER} claude --dangerously-skip-permissions "$@"'
#: Lives in a server, as containers do, and outlives the program that started it.
SERVED = (
    "exec env -u TMUX -u TMUX_PANE tmux -L engine -f /dev/null new-session "
    f'{_CONTAINER} claude --dangerously-skip-permissions "$@" \\; set status off'
)


#: A turn that lasts until the workspace has a file of this name.
UNTIL = "run while [ ! -e {0} ]; do sleep 0.1; done; echo {0}"


def _has_namespaces() -> bool:
    return sys.platform == "linux" and subprocess.run(["sh", "-c", f"{_CONTAINER} true"], check=False).returncode == 0


HAS_NAMESPACES = _has_namespaces()


def wrapper(home: Home, command: str) -> None:
    """Write a user's `clauded` to a directory on `PATH`."""
    if not HAS_NAMESPACES:
        pytest.skip("no pid namespaces can be made here")
    program = home.workspace("bin") / "clauded"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > ~/arguments\n{command}\n')
    program.chmod(0o755)
    home.env["PATH"] = f"{program.parent}{os.pathsep}{home.env['PATH']}"


def in_container(home: Home, *options: str) -> str:
    """Create a session in a container."""
    return ok(home.cli("create", "-q", "--mode", "docker", *options, cwd=home.workspace())).strip()


@pytest.fixture
def containers(shared_home: Home) -> tuple[str, str]:
    """Provide two sessions in containers, which tests of this file share and leave idle."""
    names = ("one", "two")
    if not (shared_home.path / "bin" / "clauded").exists():
        wrapper(shared_home, ATTACHED)
    for sid in set(names) - set(records(shared_home)):
        shared_home.cli("kill", sid)  # what a failed test has left
        in_container(shared_home, "--id", sid, "--", "--effort", "low")
    return names


def all_is_gone(home: Home) -> bool | None:
    """Return whether no process of the home is alive."""
    return home.leftovers() == {} or None


@pytest.mark.parametrize(
    "command", [pytest.param(ATTACHED, id="attached"), pytest.param(SERVED, id="served", marks=pytest.mark.soak)]
)
def test_a_session_in_a_container(home: Home, command: str) -> None:
    """A session in a container can be created, sent to, waited for, answered, interrupted and killed like any other."""
    wrapper(home, command)
    sid = in_container(home, "--model", "opus")
    internal_id = json.loads(ok(home.cli("inspect", sid)))["internalId"]
    assert (home.path / "arguments").read_text().split() == [
        *("--session-id", internal_id, "--name", sid, "--model", "opus")
    ]
    assert ok(home.cli("status", sid)) == "idle\n"
    assert home.cli("wait", sid).stdout == "completed\n"
    assert ok(home.cli("send", sid, UNTIL.format("go"))) == f"Sent message to {sid}\n"
    assert ok(home.cli("status", sid)) == "working\n"
    assert home.cli("wait", sid, "--timeout", "0.3").returncode == 124
    (home.workspace() / "go").touch()
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("status", sid)) == "idle\n"
    assert ok(home.cli("last-message", sid)) == "ran: go\n"
    assert ok(home.cli("ask", sid, "history")) == f"1: {UNTIL.format('go')}\n"
    assert home.cli("ask", sid, "ask Which colour? | red | blue").returncode == 3
    assert ok(home.cli("status", sid)) == "waiting_for_input\n"
    ok(home.cli("respond", sid, "blue"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "answered: blue\n"
    ok(home.cli("send", sid, LONG_TOOL))
    assert ok(home.cli("status", sid)) == "working\n"
    assert home.cli("interrupt", sid).stdout == f"Interrupted {sid}\n"
    assert_interrupted(home, sid)
    assert [turn["text"] for turn in json.loads(ok(home.cli("logs", sid, "--json")))][:2] == [
        UNTIL.format("go"),
        "ran: go",
    ]
    assert records(home)[sid]["mode"] == "docker"
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert poll(lambda: all_is_gone(home), Deadline(30), 0.1), home.leftovers()


def test_containers_with_the_same_process_id_are_distinguished(shared_home: Home, containers: tuple[str, str]) -> None:
    """Every Claude is process 1 of its container and writes to the same file; each turn still ends on its own, as does
    that of a fork."""
    home, (one, _) = shared_home, containers
    ok(home.cli("ask", one, "say before the fork"))
    two = ok(home.cli("fork", "-q", one)).strip()
    assert (home.path / "arguments").read_text().split()[-2:] == ["--effort", "low"]
    assert ": say before the fork\n" in ok(home.cli("ask", two, "history"))
    assert [path.name for path in (home.path / ".claude" / "sessions").glob("*.json")] == ["1.json"]
    for first, second in ((one, two), (two, one)):
        ok(home.cli("send", first, UNTIL.format(first)))
        assert ok(home.cli("status", second)) == "idle\n"
        assert ok(home.cli("ask", second, f"say quick {second}")) == f"quick {second}\n"
        assert ok(home.cli("status", first)) == "working\n"
        assert home.cli("wait", first, "--timeout", "3").returncode == 124
        (home.workspace() / first).touch()
        assert ok(home.cli("wait", first)) == "completed\n"
        assert ok(home.cli("last-message", first)) == f"ran: {first}\n"
        assert ok(home.cli("last-message", second)) == f"quick {second}\n"
    ok(home.cli("kill", two))


def test_a_cleared_conversation_is_followed_and_not_mixed_up(shared_home: Home, containers: tuple[str, str]) -> None:
    """After /clear the session continues with the new conversation; another container's in the same folder is
    unaffected."""
    home, (one, two) = shared_home, containers
    for sid in (one, two):
        assert ok(home.cli("ask", sid, f"say first {sid}")) == f"first {sid}\n"
    assert json.loads(ok(home.cli("send", one, "--json", "/clear"))) == {"state": "command"}
    assert "first" not in ok(home.cli("ask", one, "history"))
    assert f": say first {two}\n" in ok(home.cli("ask", two, "history"))
    assert "first" not in ok(home.cli("logs", one))
    assert f"first {two}" in ok(home.cli("logs", two))


def test_a_subagent_belongs_to_its_turn_in_a_container(shared_home: Home, containers: tuple[str, str]) -> None:
    """A wait covers a subagent that runs on after the turn, although no file says that Claude is busy."""
    home, sid = shared_home, containers[0]
    ok(home.cli("send", sid, "subagent after 2 say x"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "background work done\n"
    assert ok(home.cli("status", sid)) == "idle\n"


def test_a_permission_is_decided_in_a_container(shared_home: Home, containers: tuple[str, str]) -> None:
    """If Claude asks for permission in its container, requests are shown and decided as usual."""
    home, sid = shared_home, containers[0]
    switch_to(home, sid, "manual mode")
    for decision, made, lead in (("--deny", False, "trail 0.3 "), ("--allow", True, "")):
        ok(home.cli("send", sid, f"{lead}run touch made; echo done"))
        done = home.cli("wait", sid)
        assert (done.returncode, done.stdout) == (3, "waiting_for_input\n")
        assert ok(home.cli("status", sid)) == "waiting_for_input\n"
        assert "touch made" in ok(home.cli("last-message", sid))
        ok(home.cli("respond", sid, decision))
        assert home.cli("wait", sid).returncode == (0 if made else 1)
        assert (home.workspace() / "made").exists() == made
    switch_to(home, sid, "bypass permissions")


def test_a_session_without_its_record_is_followed(home: Home) -> None:
    """A session of the host whose session file was removed is waited for like any other."""
    sid = create(home, "claude")
    for record in (home.path / ".claude" / "sessions").glob("*.json"):
        record.unlink()
    assert ok(home.cli("status", sid)) == "idle\n"
    ok(home.cli("send", sid, UNTIL.format("go")))
    assert ok(home.cli("status", sid)) == "working\n"
    assert home.cli("wait", sid, "--timeout", "3").returncode == 124
    (home.workspace() / "go").touch()
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("ask", sid, "say-then-run words ;; sleep 1; echo out")) == "done: out\n"
    ok(home.cli("send", sid, "hang"))
    assert home.cli("interrupt", sid).stderr == f"Not delivered to {sid}: hang\n"
    assert_interrupted(home, sid)


def test_a_host_process_is_not_mistaken_for_one_of_the_container(
    shared_home: Home, containers: tuple[str, str]
) -> None:
    """A session whose Claude was process 1 of its container is lost with the container, although the host has a process
    1, and recover starts another container with the same conversation."""
    home, (sid, other) = shared_home, containers
    ok(home.cli("ask", sid, "say before"))
    ok(home.cli("send", sid, "hang"))
    wait = home.popen("dev-sessions", "wait", sid)
    outside = json.loads(ok(home.cli("inspect", sid)))["claudePid"]
    claude = int(home.run("ps", "-o", "pid=", "--ppid", str(outside)).stdout)
    os.kill(claude, signal.SIGKILL)
    _, error = wait.communicate(timeout=30)
    assert wait.returncode == 1
    assert f"{sid} is lost: " in error
    for command in (["status", sid], ["send", sid, "x"], ["wait", sid]):
        assert f"{sid} is lost: " in home.cli(*command).stderr
    assert ok(home.cli("last-message", sid)) == "before\n"
    assert ok(home.cli("status", other)) == "idle\n"
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    assert (home.path / "arguments").read_text().split()[0] == "--resume"
    assert ": say before\n" in ok(home.cli("ask", sid, "history"))
    assert "[ASSISTANT]\nbefore" in ok(home.cli("logs", sid))


def test_a_container_of_the_original_is_taken_over(home: Home) -> None:
    """A session that the original started in a container can be used, and is lost when its tmux session is gone,
    whatever process has Claude's pid of inside the container."""
    wrapper(home, ATTACHED)
    create_original(home, "zed-mid", mode="docker")
    assert poll(lambda: next((home.path / ".claude" / "sessions").glob("1.json"), None), Deadline(20), 0.2)
    assert poll(lambda: True if home.cli("ask", "zed-mid", "say hi").stdout == "hi\n" else None, Deadline(20), 0.2)
    assert ok(home.cli("status", "zed-mid")) == "idle\n"
    ok(home.tmux("kill-session", "-t", "=dev-zed-mid"))
    assert poll(lambda: True if home.cli("status", "zed-mid").returncode else None, Deadline(30), 0.1)
    assert "zed-mid is lost: " in home.cli("status", "zed-mid").stderr
    assert ok(home.cli("last-message", "zed-mid")) == "hi\n"


@pytest.mark.parametrize(
    ("unanswered", "words", "command"),
    [
        pytest.param("trusted", "accept that with --trust", ATTACHED, marks=pytest.mark.matrix),
        ("bypass_accepted", "Claude Code running in Bypass Permissions mode", SERVED),
    ],
    ids=["trusted", "bypass_accepted"],
)
def test_a_dialog_before_the_start_is_shown_and_nothing_is_left(
    model: ScriptedModel, unanswered: str, words: str, command: str
) -> None:
    """A start-up dialog in a container is never answered: create shows it, says what to do, and leaves no container."""
    with Home(model.port, trusted=unanswered != "trusted", bypass_accepted=unanswered != "bypass_accepted") as home:
        wrapper(home, command)
        done = home.cli("create", "--mode", "docker", cwd=home.workspace())
        assert (done.returncode, done.stdout) == (1, "")
        assert "run clauded " in done.stderr
        assert words in done.stderr
        assert records(home, "--all") == {}
        assert poll(lambda: all_is_gone(home), Deadline(30), 0.1), home.leftovers()


@pytest.mark.parametrize(
    "doing",
    [
        "background sleep 600",
        pytest.param("ask Which? | a | b", marks=pytest.mark.matrix),
        *(
            pytest.param(doing, marks=pytest.mark.soak)
            for doing in ("after 60 say late", LONG_TOOL, "subagent after 60 say x")
        ),
    ],
)
def test_kill_ends_a_container_whatever_it_does(home: Home, doing: str) -> None:
    """A container that would outlive its client is gone after kill, with everything that ran in it."""
    wrapper(home, SERVED)
    sid = in_container(home)
    ok(home.cli("send", sid, doing))
    if not doing.startswith(("after", "run")):
        home.cli("wait", sid, "--timeout", "3")
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert poll(lambda: all_is_gone(home), Deadline(30), 0.1), home.leftovers()


def elsewhere(home: Home, *, shares_projects: bool = False) -> Path:
    """Set up a configuration directory that only the container has, and a wrapper that uses it."""
    config = home.path / "inside"
    config.mkdir()
    shutil.copy(home.path / ".claude" / "settings.json", config)
    shutil.copy(home.path / ".claude.json", config)
    if shares_projects:
        (home.path / ".claude" / "projects").mkdir()
        (config / "projects").symlink_to(home.path / ".claude" / "projects")
    wrapper(home, f"export CLAUDE_CONFIG_DIR={config}\n{ATTACHED}")
    return config


def test_a_container_that_does_not_share_its_files(home: Home) -> None:
    """If no file of Claude's is visible, create warns, send does not claim success, and no command hangs."""
    elsewhere(home)
    done = home.cli("create", "-q", "--mode", "docker", cwd=home.workspace())
    sid = done.stdout.strip()
    assert done.returncode == 0
    assert f"No file of this Claude is visible in {home.path / '.claude'}" in done.stderr
    assert done.stderr.count("\n") == 1
    assert home.cli("wait", sid).stdout == "completed\n"
    done = home.cli("send", sid, "say hello")
    assert (done.returncode, done.stdout) == (1, "")
    assert "may have arrived: nothing proves it, since its container does not keep its transcript in" in done.stderr
    assert done.stderr.count("\n") == 1
    for command in (["wait", sid], ["last-message", sid], ["logs", sid], ["respond", sid, "1"]):
        done = home.cli(*command, timeout=30)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"The replies of {sid} can't be read: its container does not keep its transcript" in done.stderr
        assert done.stderr.count("\n") == 1
    assert ok(home.cli("status", sid)) == "idle\n"
    late = home.popen("dev-sessions", "send", sid, "after 60 say late")
    assert poll(lambda: ok(home.cli("status", sid)) == "working\n" or None, Deadline(20), 0.1)
    late.terminate()
    assert late.wait(20) == 128 + signal.SIGTERM
    assert ok(home.cli("status", sid)) == "working\n"
    assert home.cli("interrupt", sid).stdout == f"Interrupted {sid}\n"
    assert records(home)[sid]["state"] == "idle"
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert poll(lambda: all_is_gone(home), Deadline(30), 0.1)


def test_a_container_that_shares_the_transcripts_alone_is_enough(home: Home) -> None:
    """If only the transcripts are shared, messages are proved and replies are read."""
    elsewhere(home, shares_projects=True)
    done = home.cli("create", "-q", "--mode", "docker", cwd=home.workspace())
    sid = done.stdout.strip()
    assert done.returncode == 0
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
    assert ok(home.cli("ask", sid, "run echo twice")) == "ran: twice\n"
    assert "[ASSISTANT]\nhello" in ok(home.cli("logs", sid))


@pytest.mark.parametrize("shell", ["zsh", pytest.param("bash", marks=pytest.mark.matrix)])
def test_a_wrapper_that_is_a_shell_function(home: Home, shell: str) -> None:
    """The documented script runs a shell function with unchanged arguments; without the function it fails."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    (recipe,) = re.findall(r"^exec zsh -ic .*$", DOCS, re.MULTILINE)
    wrapper(home, recipe.replace("zsh", shell))
    started = home.path / (".zshrc" if shell == "zsh" else ".bashrc")
    done = home.cli("create", "--mode", "docker", cwd=home.workspace())
    assert (done.returncode, done.stdout) == (1, "")
    assert "exited during its start" in done.stderr
    inside = ATTACHED.removeprefix("exec ")
    started.write_text(
        f'export PATH="{home.env["PATH"]}"\nclauded() {{\n  printf "%s\\n" "$@" > ~/given\n  {inside}\n}}\n'
    )
    sid = in_container(home, "--model", "a 'quoted' \"name\" $HOME")
    assert (home.path / "given").read_text().splitlines()[4:] == ["--model", "a 'quoted' \"name\" $HOME"]
    assert ok(home.cli("ask", sid, "say through a function")) == "through a function\n"
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert poll(lambda: all_is_gone(home), Deadline(30), 0.1), home.leftovers()


def documented_wrapper(home: Home) -> Path:
    """Set up the documented wrapper as if its user had run it once and answered Claude's questions; return the home
    inside."""
    docker.install(home)
    (recipe,) = re.findall(r"^```sh\n(#!/bin/sh\n[^`]*?exec docker run .*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
    program = home.workspace("bin") / "clauded"
    program.write_text(recipe)
    program.chmod(0o755)
    inside = home.workspace(".clauded")
    (inside / ".claude").mkdir()
    shutil.copy(home.path / ".claude" / "settings.json", inside / ".claude")
    state = json.loads((home.path / ".claude.json").read_text())
    del state["projects"]  # what the host's Claude trusts
    (inside / ".claude.json").write_text(json.dumps(state))
    return inside


def test_the_documented_wrapper(home: Home) -> None:
    """The documented wrapper starts a Claude that works as usual and can be forked, in a folder that nobody has trusted
    yet."""
    documented_wrapper(home)
    ok(home.run("git", "init", "-q", cwd=home.workspace()))
    sid = in_container(home)
    assert "claudeVersion" in json.loads(ok(home.cli("inspect", sid)))
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
    assert home.cli("ask", sid, "ask Which? | a | b").returncode == 3
    ok(home.cli("respond", sid, "b"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "answered: b\n"
    fork = ok(home.cli("fork", "-q", sid)).strip()
    assert ok(home.cli("ask", fork, "history")).startswith("1: say hello\n")
    assert ok(home.cli("kill", sid, fork)) == f"Killed session {sid}\nKilled session {fork}\n"
    assert poll(lambda: all_is_gone(home), Deadline(30), 0.1), home.leftovers()


@pytest.mark.soak
def test_a_permission_is_decided_in_the_documented_container(home: Home) -> None:
    """The documented wrapper can be changed to let Claude ask for permission."""
    documented_wrapper(home)
    program = home.path / "bin" / "clauded"
    program.write_text(program.read_text().replace("--dangerously-skip-permissions", "--permission-mode default"))
    sid = in_container(home)
    for decision, made in (("--deny", False), ("--allow", True)):
        ok(home.cli("send", sid, "run touch made; echo done"))
        assert home.cli("wait", sid).returncode == 3
        assert "touch made" in ok(home.cli("last-message", sid))
        ok(home.cli("respond", sid, decision))
        assert home.cli("wait", sid).returncode == (0 if made else 1)
        assert (home.workspace() / "made").exists() == made


def test_what_the_documented_container_can_write(home: Home) -> None:
    """The documented wrapper shows Claude the session's folder, its transcripts and a home of its own, and no settings,
    login, other transcript or session file of the host."""
    inside = documented_wrapper(home)
    config = home.path / ".claude"
    for name in (".credentials.json", "sessions/4217.json", "projects/-other/conversation.jsonl"):
        (config / name).parent.mkdir(parents=True, exist_ok=True)
        (config / name).write_text("confidential")
    search = f"grep -rl 'confi'dential {home.path} ~"
    assert home.run("sh", "-c", search).stdout.count("\n") >= 3
    sid = in_container(home)
    before = files(config)
    assert ok(home.cli("ask", sid, f"run {search}; touch here; ls -A {home.path}")) == "ran: workspace\n"
    escape = f"run for f in ~/.claude {config}; do mkdir -p $f; echo '{{}}' > $f/settings.json; done"
    ok(home.cli("ask", sid, escape))
    assert (home.workspace() / "here").exists()
    assert (inside / ".claude" / "settings.json").read_text() == "{}\n"
    after = files(config)
    assert before.keys() <= after.keys()
    changed = {path.parent.name for path in after if before.get(path) != after[path]}
    assert changed <= {re.sub("[^a-zA-Z0-9]", "-", str(home.workspace())), "clauded-sessions"}


def files(folder: Path) -> dict[Path, bytes]:
    """Return all files below a folder with their contents."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@needs_proc
def test_the_gateway_token_is_not_visible_on_its_way_into_a_container(home: Home) -> None:
    """The documented way to pass a token shows it in no process's arguments, and the container uses its host's
    sessions."""
    docker.install(home)
    (recipe,) = re.findall(r"^docker run [^`]*?DEV_SESSIONS_GATEWAY_TOKEN.*? IMAGE$", DOCS, re.MULTILINE | re.DOTALL)
    token = home.path / ".dev-sessions" / "gateway-token"
    token.parent.mkdir(mode=0o700)
    token.write_text("c0nfidential\n")
    token.chmod(0o600)
    with (
        running_gateway(home, "--port", "0", "--token-file", str(token)) as (gateway, _),
        assert_not_in_arguments("c0nfidential"),
    ):
        # As it is to be done on Linux.
        linux = f" --network host -e DEV_SESSIONS_GATEWAY_URL={gateway.url} IMAGE dev-sessions create -q --cli codex"
        done = home.run("bash", "-c", recipe.replace(" IMAGE", linux), cwd=home.workspace())
        sid = ok(done).strip()
    assert records(home)[sid]["path"] == str(home.workspace())


def test_a_shell_function_alone_is_not_enough(home: Home) -> None:
    """Without a `clauded` on PATH, create says what is needed."""
    (home.path / ".bashrc").write_text("clauded() { claude; }\n")
    done = home.cli("create", "--mode", "docker", cwd=home.workspace())
    assert (done.returncode, done.stdout) == (1, "")
    assert "clauded was not found on PATH; docker mode needs a wrapper of this name on PATH" in done.stderr
    assert "a shell function is not enough" in done.stderr
    assert records(home, "--all") == {}


def test_codex_has_no_docker_mode(home: Home) -> None:
    """Codex is never started on the host for somebody who asked for a container, through a gateway either."""
    done = home.cli("create", "-q", "--cli", "codex", "--mode", "docker", cwd=home.workspace())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Codex has no docker mode: leave out --mode, or use --cli claude")
    with running_gateway(home, "--port", "0") as (gateway, _):
        client = GatewayClient(gateway.url, None, lambda _: None)
        with pytest.raises(Relayed, match=r"^Codex has no docker mode"):
            client.execute(Create(cli="codex", mode="docker", path=str(home.workspace())))
    assert records(home, "--all") == {}
