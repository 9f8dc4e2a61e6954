"""The real agents call dev-sessions with their own shell tools: every mode, permission rule, sandbox and way out."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.agents import ROOT
from tests.support.cli import IN_A_TERMINAL, create, ok, records, stored_records
from tests.support.command_lines import blocks
from tests.support.darwin import is_simulated
from tests.support.gateway import Gateway
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.namespaces import have_namespaces

pytestmark = [
    pytest.mark.forked,
    pytest.mark.skipif(not (have_namespaces() or is_simulated()), reason="no pid namespaces can be made here"),
]

#: The skill's loop. `fizz-top` stands for the id that the first command prints.
LOOP = (
    'dev-sessions run "say one" --cli codex --timeout 60',
    'dev-sessions ask fizz-top "say two" --timeout 60',
    "dev-sessions send fizz-top --file brief.md",
    "dev-sessions wait --mine --any --timeout 60",
    "dev-sessions last-message fizz-top",
    "dev-sessions list --mine",
    "dev-sessions kill fizz-top",
)
#: In one command: a session is created, gets a message, is waited for and killed.
SHORT = ('dev-sessions run "say one" --cli codex --timeout 60 --kill', "dev-sessions list --mine")
#: The recipe of the README.
SKILLS = ("dev-sessions", "delegate", "handoff")
RECIPE = {"permissions": {"allow": ["Bash(dev-sessions:*)", *(f"Skill({name})" for name in SKILLS)]}}
SANDBOX = {"enabled": True, "autoAllowBashIfSandboxed": True}
#: For the gateway, `SOCKET` is its URL.
URL = {"DEV_SESSIONS_GATEWAY_URL": "SOCKET"}
CLAUDE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "disabled for the command": ({**RECIPE, "sandbox": SANDBOX}, {"dangerouslyDisableSandbox": True}),
    "excluded": ({**RECIPE, "sandbox": {**SANDBOX, "excludedCommands": ["dev-sessions *"]}}, {}),
    "gateway": ({"sandbox": {**SANDBOX, "network": {"allowAllUnixSockets": True}}, "env": URL}, {}),
}
RULE = 'prefix_rule(pattern=["dev-sessions"], decision="allow")\n'
CODEX = {
    "rule": ["-s", "workspace-write"],
    "gateway": [
        *("-s", "workspace-write", "-c", "sandbox_workspace_write.network_access=true"),
        *("-c", 'shell_environment_policy.set={DEV_SESSIONS_GATEWAY_URL="SOCKET"}'),
    ],
}


@pytest.fixture(scope="module")
def home_of_callers(model: ScriptedModel) -> Iterator[Home]:
    """Provide a home outside of /tmp, below which Codex builds no sandbox, with a brief in its workspace."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", "/var/tmp")
        home = Home(model.port)
    with home:
        (home.workspace() / "brief.md").write_text("say three")
        yield home
    assert home.leftovers() == {}


@pytest.fixture(scope="module")
def gateway(home_of_callers: Home) -> Iterator[Gateway]:
    """Provide a gateway on a unix socket outside of the sandboxes."""
    folder = home_of_callers.path / ".dev-sessions"
    folder.mkdir(mode=0o700, exist_ok=True)
    gateway = Gateway(home_of_callers, "--socket", str(folder / "gateway.sock"))
    yield gateway
    gateway.end()


@pytest.fixture
def caller(home_of_callers: Home, gateway: Gateway, model: ScriptedModel, fork_server: Any) -> Home:
    """Provide the home for one caller, in which nothing runs."""
    del gateway
    model.forget()
    model.hold()
    home_of_callers.runner = fork_server
    return home_of_callers


def steps(*calls: object) -> str:
    """Return the script of a model that makes these calls, one after the other."""
    return f"steps {json.dumps(calls)}"


def with_socket(home: Home, text: str) -> str:
    """Return settings with the URL of the gateway."""
    return text.replace("SOCKET", f"unix://{home.path}/.dev-sessions/gateway.sock")


def claude(home: Home, settings: dict[str, Any], script: str, *options: str) -> str:
    """Run `claude -p` in its default mode, and return what it prints."""
    argv = ("claude", "-p", *options, "--settings", with_socket(home, json.dumps(settings)), script)
    done = home.run(*argv, cwd=home.workspace(), timeout=120)
    assert done.returncode == 0, done
    return done.stdout


def codex(home: Home, options: list[str], script: str) -> str:
    """Run `codex exec`, and return the model's last message."""
    argv = ("codex", "exec", "--skip-git-repo-check", *(with_socket(home, option) for option in options), script)
    done = home.run(*argv, cwd=home.workspace(), timeout=120)
    assert done.returncode == 0, done
    return done.stdout


def assert_whole_loop(home: Home, said: str) -> None:
    """Assert that each command of the loop printed what it has to, and that nothing is left."""
    results = [part.strip() for part in said.partition("steps: ")[2].split(" | ")]
    assert len(results) == len(LOOP), said
    sid = results[0].rpartition("Created session ")[2].split()[0]
    assert "one" in results[0].split()
    assert results[1:4] == ["two", f"Sent message to {sid}", sid]
    assert results[4] == "three"
    assert results[5].splitlines()[1].split()[:2] == [sid, "codex"]
    assert results[6] == f"Killed session {sid}"
    assert sid not in stored_records(home)


def assert_short_loop(home: Home, said: str) -> None:
    """Assert that the commands of `SHORT` worked, and that nothing is left."""
    run, listed = said.partition("steps: ")[2].split(" | ")
    assert "one" in run.split(), said
    assert listed.strip() == "No active sessions"
    assert stored_records(home) == {}


def test_claude_runs_the_whole_loop(caller: Home) -> None:
    """With the permission rule of the README, claude -p in its default mode runs every command of the skill."""
    assert_whole_loop(caller, claude(caller, RECIPE, steps(*LOOP)))


@pytest.mark.parametrize("how", CLAUDE)
def test_claude_delegates_from_its_sandbox(caller: Home, how: str) -> None:
    """With each recipe of the README, claude -p creates, waits for and ends a session from its sandbox."""
    settings, more = CLAUDE[how]
    calls = [["Bash", {"command": command, "description": "scripted", **more}] for command in SHORT]
    assert_short_loop(caller, claude(caller, settings, steps(*calls)))


def test_an_interactive_claude_asks_nobody(caller: Home, model: ScriptedModel) -> None:
    """With the permission rule of the README, a Claude at a terminal asks nobody before it runs dev-sessions."""
    script = steps(*SHORT, "dev-sessions whoami")
    settings = json.dumps(RECIPE)
    terminal = caller.popen(*IN_A_TERMINAL, "claude", "--settings", settings, script, cwd=caller.workspace())
    count = len(SHORT) + 2
    assert poll(lambda: len([turn for turn in model.turns() if turn.api == "messages"]) >= count or None, Deadline(90))
    results = [
        part["content"]
        for message in model.turns()[-1].body["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "tool_result"
    ]
    texts = [text if isinstance(text, str) else text[0]["text"] for text in results]
    assert_short_loop(caller, "steps: " + " | ".join(texts[:-1]))
    assert "does not run in a session" in texts[-1]
    terminal.kill()


def test_codex_runs_the_whole_loop(caller: Home) -> None:
    """codex exec without a sandbox runs every command of the skill."""
    assert_whole_loop(caller, codex(caller, ["-s", "danger-full-access"], steps(*LOOP)))


@pytest.mark.parametrize("how", CODEX)
def test_codex_delegates_from_its_sandbox(caller: Home, how: str) -> None:
    """With each recipe of the README, codex exec creates, waits for and ends a session from its sandbox."""
    rules = caller.path / ".codex" / "rules" / "default.rules"
    rules.parent.mkdir(exist_ok=True)
    rules.write_text(RULE if "rule" in how else "")
    assert_short_loop(caller, codex(caller, CODEX[how], steps(*SHORT)))


def test_a_session_runs_the_whole_loop(caller: Home) -> None:
    """A session of dev-sessions itself, a thread of the app-server, runs every command of the skill."""
    sid = create(caller, "codex")
    assert_whole_loop(caller, ok(caller.cli("ask", sid, steps(*LOOP), cwd=caller.workspace())))
    assert set(records(caller)) == {sid}
    ok(caller.cli("kill", sid))


def test_claude_is_told_when_a_wait_in_the_background_ends(caller: Home, model: ScriptedModel) -> None:
    """A Claude that waits in the background, as the skill says, ends its turn, and goes on when the wait ends."""
    sid, child = create(caller, "claude"), create(caller, "codex")
    ok(caller.cli("send", child, "when allowed say done"))
    wait = {"command": f"dev-sessions wait {child}", "description": "scripted", "run_in_background": True}
    assert "running in background" in ok(caller.cli("ask", sid, steps(["Bash", wait])))
    model.allow("allowed")
    said = ("last-message", sid)
    assert poll(lambda: caller.cli(*said).stdout == "background work done\n" or None, Deadline(30), 0.1)
    ok(caller.cli("kill", "--all"))


def test_codex_polls_a_call_that_takes_long(caller: Home) -> None:
    """A Codex gets the reply of a run that outlasts its call by polling, as the skill says."""
    run = 'dev-sessions run "after 2 say late" --cli codex --kill'
    poll_it = ["write_stdin", {"session_id": "SESSION", "chars": "", "yield_time_ms": 30000}]
    script = steps(["exec_command", {"cmd": run, "yield_time_ms": 250}], poll_it)
    begun, ended = codex(caller, ["-s", "danger-full-access"], script).partition("steps: ")[2].split(" | ")
    assert begun.startswith("session ")
    assert "late" in ended.split()


#: Every command line of the skills, without its comment.
LINES = [
    re.sub(r"\s+# .*$", "", line)
    for file in sorted((ROOT / "skills").glob("*/*.md"))
    for block in blocks(file.read_text(encoding="utf-8"))
    for line in re.findall(r"^dev-sessions .*$", block, re.M)
]
#: The permission modes of Claude in which the commands of the skills run. (`auto` needs a check by a server.)
MODES = ("default", "plan", "dontAsk", "acceptEdits")
#: What agents like to add to a command.
ADDITIONS = (
    "dev-sessions list; echo $?",
    "dev-sessions list > file",
    "dev-sessions list | tee file",
    "echo $(dev-sessions list)",
    "A=b dev-sessions list",
)


@pytest.fixture
def caller_of_stub(caller: Home) -> Iterator[Home]:
    """Provide the home with a `dev-sessions` that prints its pid namespace: what counts is whether it is run, where."""
    stub = caller.workspace("stub") / "dev-sessions"
    stub.write_text("#!/bin/sh\nexec readlink /proc/self/ns/pid\n")
    stub.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(caller.env, "PATH", f"{stub.parent}:{caller.env['PATH']}")
        caller.configure_login_shells()
        yield caller
    caller.configure_login_shells()


def outputs(said: str, count: int) -> list[str]:
    """Return what each of several calls printed."""
    results = [part.strip() for part in said.partition("ran: ")[2].split(" | ")]
    assert len(results) == count, said
    return results


def test_claude_denies_what_is_added(caller_of_stub: Home) -> None:
    """The permission rule of the README allows two command lines that are joined by &&, and no command that has
    something added."""
    home, here = caller_of_stub, os.readlink("/proc/self/ns/pid")
    lines = ["dev-sessions list && dev-sessions list", *ADDITIONS]
    results = outputs(claude(home, RECIPE, "runs " + " ;; ".join(lines)), len(lines))
    assert [line for line, result in zip(lines, results, strict=True) if here in result] == lines[:1]


def results_of(model: ScriptedModel) -> list[str]:
    """Return the results of the calls that the model made in its latest turn, in the order of the calls."""
    parts = [
        part
        for message in model.turns()[-1].body["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
    ]
    texts = {part["tool_use_id"]: json.dumps(part["content"]) for part in parts if part["type"] == "tool_result"}
    return [texts[part["id"]] for part in parts if part["type"] == "tool_use"]


#: What the skills need beside their commands, what its result has in it, and the modes of Claude that allow it.
NEEDS: tuple[tuple[str, dict[str, str], str, frozenset[str]], ...] = (
    *(("Skill", {"skill": name}, f"Launching skill: {name}", frozenset({*MODES})) for name in SKILLS),
    ("Read", {"file_path": "REFERENCE"}, "# dev-sessions: reference", frozenset({*MODES})),
    ("Bash", {"command": "git log --oneline -5"}, "a commit", frozenset({*MODES, "no rules"})),
    ("Bash", {"command": "git status"}, "On branch main", frozenset({*MODES, "no rules"})),
    ("Bash", {"command": "git diff main...main && echo same"}, "same", frozenset({*MODES, "no rules"})),
    ("Bash", {"command": "git merge main"}, "Already up to date", frozenset({*MODES})),
    ("Write", {"file_path": "NEW", "content": "x"}, "File created", frozenset({"acceptEdits"})),
)


@pytest.mark.parametrize(
    "mode",
    [
        *(MODES[0], pytest.param(MODES[1], marks=pytest.mark.matrix)),
        *(pytest.param(mode, marks=pytest.mark.soak) for mode in MODES[2:]),
        "no rules",
    ],
)
def test_what_the_skills_need_is_allowed(caller_of_stub: Home, model: ScriptedModel, mode: str) -> None:
    """With the rules of the README, Claude loads each skill, reads its reference and runs every command line of them,
    in each permission mode; what it may do beside that is as docs/sessions.md says."""
    home = caller_of_stub
    ok(home.cli("install-skill", "--claude"))
    folder = home.workspace(f"repository-{mode.replace(' ', '-')}")
    home.run("sh", "-c", "git init -q && git commit -q --allow-empty -m 'a commit'", cwd=folder)
    reference = home.path / ".claude" / "skills" / "dev-sessions" / "reference.md"
    paths = {"REFERENCE": str(reference), "NEW": str(folder / "brief.md")}
    calls = [(tool, {key: paths.get(value, value) for key, value in given.items()}) for tool, given, _, _ in NEEDS]
    calls += [("Bash", {"command": line}) for line in LINES]
    for call in calls:
        call[1].update({"description": "scripted"} if call[0] == "Bash" else {})
    settings, option = (RECIPE, mode) if mode != "no rules" else ({}, "default")
    options = ("--permission-mode", option, "--settings", json.dumps(settings))
    done = home.run("claude", "-p", *options, f"tools {json.dumps(calls)}", cwd=folder, timeout=120)
    assert done.returncode == 0, done
    results = results_of(model)
    found = [expected in result for (_, _, expected, _), result in zip(NEEDS, results, strict=False)]
    assert found == [mode in modes for *_, modes in NEEDS], results[: len(NEEDS)]
    here = os.readlink("/proc/self/ns/pid")
    allowed = [here in result for result in results[len(NEEDS) :]]
    assert allowed == [mode != "no rules"] * len(LINES)


def test_codex_runs_every_line_of_the_skills_outside(caller_of_stub: Home) -> None:
    """The rule of the README lets every command line of the skills out of Codex's sandbox, and none that has something
    added."""
    home, here = caller_of_stub, os.readlink("/proc/self/ns/pid")
    rules = home.path / ".codex" / "rules" / "default.rules"
    rules.parent.mkdir(exist_ok=True)
    rules.write_text(RULE)
    lines = [*LINES, "dev-sessions list && dev-sessions list", *ADDITIONS]
    results = outputs(codex(home, ["-s", "workspace-write"], "runs " + " ;; ".join(lines)), len(lines))
    outside = [line for line, result in zip(lines, results, strict=True) if here in result]
    assert outside == lines[: -len(ADDITIONS)]


IN_SANDBOX: dict[str, tuple[Callable[[Home, str], str], str, str]] = {
    "claude": (
        lambda home, script: claude(home, {"permissions": {"allow": ["Bash"]}, "sandbox": SANDBOX}, script),
        "this shell is a sandbox (Claude Code's)",
        "outside of Claude Code's sandbox, with dangerouslyDisableSandbox",
    ),
    "codex": (
        lambda home, script: codex(home, ["-s", "workspace-write"], script),
        "this shell is a sandbox (Codex's)",
        'prefix_rule(pattern=["dev-sessions"], decision="allow")',
    ),
    "codex read-only": (
        lambda home, script: codex(home, ["-s", "read-only"], script),
        "this shell is a sandbox (Codex's)",
        'prefix_rule(pattern=["dev-sessions"], decision="allow")',
    ),
}
#: Commands on a Codex session, which no agent's sandbox can reach, and commands that write.
NEED_THE_OUTSIDE = (
    *("create -q", "run 'say one'", "fork ID", "kill ID", "kill --all", "recover", "list", "status ID", "wait ID"),
    *("send ID hello", "ask ID hello", "last-message ID", "logs ID", "respond ID 1", "interrupt ID", "goal ID"),
    *("install-skill --codex", "doctor"),
)


@pytest.mark.parametrize("agent", ["claude", "codex", pytest.param("codex read-only", marks=pytest.mark.matrix)])
def test_a_sandbox_is_named_with_the_way_out(caller: Home, agent: str) -> None:
    """In an agent's sandbox, commands and doctor name that sandbox and the shortest way out of it, in one line."""
    (caller.path / ".codex" / "rules" / "default.rules").unlink(missing_ok=True)
    run, name, way = IN_SANDBOX[agent]
    sid = create(caller, "codex")
    ok(caller.cli("ask", sid, "say hello"))
    url = f"DEV_SESSIONS_GATEWAY_URL=unix://{caller.path}/.dev-sessions/gateway.sock"
    commands = [f"dev-sessions {command.replace('ID', sid)}" for command in NEED_THE_OUTSIDE]
    said = run(caller, "runs " + " ;; ".join([*commands, f"env {url} dev-sessions list"]))
    *results, denied = outputs(said, len(commands) + 1)
    ways = [sum(way in line for line in result.splitlines()) for result in results[:-2]]
    assert [command for command, count in zip(commands[:-2], ways, strict=True) if count != 1] == [], said
    for result in (results[0], results[-1]):
        assert way in next(line for line in result.splitlines() if name in line)
    assert all(way in line for line in results[-2].splitlines() if "was not installed" in line)
    for misleading in ("No usable temporary directory", "chmod 700", "check that tmux works"):
        assert misleading not in results[-1]
    assert "This shell may not connect to the gateway" in denied
    assert "Is the gateway running" not in denied
    assert {"claude": "allowAllUnixSockets", "codex": "network_access"}[agent.split(maxsplit=1)[0]] in denied
    ok(caller.cli("kill", sid))
