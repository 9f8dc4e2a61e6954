"""The environment of a session is its user's, whoever creates it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import zlib
from pathlib import Path

import pytest

from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.environment import is_of_agent
from tests.support.agents import agent_bin, pinned
from tests.support.cli import assert_refused, both, create, ok, record, records
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked

#: Names of the programs that sound like a session and are settings of a user.
SETTINGS = re.compile(
    r"(CLAUDE|CODEX)_(CODE_)?(DISABLE|ENABLE|MAX|SKIP|USE|HIDE|NO|ASYNC|FILE_READ|SUBAGENT|RESUME_T|STREAM)_?\w*"
    r"|CLAUDE_CODE_(OAUTH_CLIENT_ID|SANDBOXED|MCP_\w*CGROUP)"
)
SESSION_LIKE = re.compile(
    r"SESSION|THREAD|CONVERSATION|_TURN|TOOL_CALL|TOOL_USE|CHILD|_PID|_ID$|SANDBOX|SOCK|PARENT|NESTED|MESSAGING|ATTENDED"
    r"|RESUME|RUNNER|BRIDGE|_JOB|TEAM|_FD$|DESCRIPTOR|ENTRYPOINT|SPAWN|WORKER|DAEMON"
)


def variables(home: Home, sid: str) -> dict[str, str]:
    """Return the environment of a command that a session runs."""
    printed = ok(home.cli("ask", sid, "run env -0 | base64 -w 0")).removeprefix("ran: ").strip()
    pairs = base64.b64decode(printed).decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair)


@pytest.mark.parametrize(("agent", "prefix"), [("claude", "CLAUDE_"), ("codex", "CODEX_")])
def test_no_session_variable_of_the_installed_agents_is_passed_on(agent: str, prefix: str) -> None:
    """Every variable that an installed agent knows and whose name sounds like a session's is kept from new sessions."""
    argv = ["grep", "-ahoE", rf"\b{prefix}[A-Z0-9_]{{2,}}\b", *map(str, programs(agent))]
    found = subprocess.run(argv, capture_output=True, check=True, env={**os.environ, "LC_ALL": "C"})
    names = set(found.stdout.decode().splitlines())
    assert len(names) > 10
    # Neighbours in a program's table of strings look like one name.
    whole = {name for name in names if len(re.findall(prefix, name)) == 1}
    passed = {name for name in whole if SESSION_LIKE.search(name) and not is_of_agent(name)}
    assert {name for name in passed if not SETTINGS.fullmatch(name)} == set()


#: Session-like variables that Claude reads and others set: systems, terminals, Node and CI services; and the way to the
#: model, and the user's statement that this machine is a sandbox.
OF_OTHERS = re.compile(
    r"(AWS|C9|CLOUD|NODE|RUNNER|WT|GITHUB|XDG|SSH|BUN)_\w+|SESSIONNAME|ANTHROPIC_UNIX_SOCKET|IS_SANDBOX"
)


def test_no_other_session_variable_of_claude_is_passed_on() -> None:
    """The same for the variables that Claude reads under names without its prefix."""
    argv = ["grep", "-ahoE", r"\bprocess\.env\.[A-Z][A-Z0-9_]+", *map(str, programs("claude"))]
    found = subprocess.run(argv, capture_output=True, check=True, env={**os.environ, "LC_ALL": "C"})
    names = {line.rpartition(".")[2] for line in found.stdout.decode().splitlines()}
    assert len(names) > 100
    # Half of the ids are of the clouds and terminals that it tells apart.
    sounding = {name for name in names if SESSION_LIKE.search(name.removesuffix("_ID"))}
    other = {name for name in sounding if not name.startswith("CLAUDE_")}
    assert {name for name in other if not OF_OTHERS.fullmatch(name) and not is_of_agent(name)} == set()


def programs(agent: str) -> list[Path]:
    """Return the executables of an installed agent."""
    packages = agent_bin(agent, pinned()[agent]).parent
    found = [file for file in packages.rglob(agent) if file.is_file() and file.stat().st_size > 10**7]
    return [*found, *(file for file in packages.rglob("cli.js"))]


#: What the commands of an agent, a CI job and a git hook have beside their user's environment.
CALLER = {
    "CLAUDECODE": "1",
    "CLAUDE_CODE_SIMPLE": "1",
    "CLAUDE_CODE_BRIDGE_SESSION_ID": "b",
    "CCR_SPAWN_TIMESTAMP_MS": "1",
    "TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "CODEX_MANAGED_BY_NPM": "7",
    "CODEX_SANDBOX_NETWORK_DISABLED": "1",
    "NO_COLOR": "9",
    "FORCE_COLOR": "0",
    "CI": "true",
    "PAGER": "cat",
    "GIT_INDEX_FILE": ".git/index",
    "GIT_PREFIX": "",
}


@both
def test_a_session_gets_nothing_of_its_callers_commands(home: Home, model: ScriptedModel, agent: str) -> None:
    """A session that an agent creates in a git hook of a CI job works, and its commands have the user's variables."""
    del model
    tools = home.workspace("tools")
    env = {**CALLER, "OF_THE_USER": "me", "PATH": f"{tools}:{home.env['PATH']}"}
    # Claude shows its hint in an empty box, which without colours looks like a draft.
    state = json.loads((home.path / ".claude.json").read_text())
    folder = home.workspace()
    state["projects"][str(folder)] = {**state["projects"][str(home.path)], "exampleFiles": ["m1.py"]}
    (home.path / ".claude.json").write_text(json.dumps(state))
    env["CLAUDE_CODE_ENABLE_PROMPT_SUGGESTION"] = "1"
    sid = ok(home.cli("create", "-q", "--cli", agent, cwd=folder, env=env)).strip()
    found = variables(home, sid)
    assert (found["OF_THE_USER"], found["DEV_SESSIONS_ID"]) == ("me", sid)
    assert str(tools) in found["PATH"].split(":")
    own = {"PAGER": "cat"} if agent == "codex" else {"CLAUDECODE": "1"}
    assert {name: found[name] for name, value in CALLER.items() if found.get(name) == value} == own


def test_each_codex_session_has_its_creators_environment(home: Home) -> None:
    """Sessions of two projects share an app-server, and each has the variables and the PATH of its own project."""
    secrets = {"one": "alpha-secret", "two": "beta-secret"}
    sids = {}
    for name, value in secrets.items():
        tools = home.workspace(f"{name}-tools")
        (tools / "which-project").write_text(f"#!/bin/sh\necho {name}\n")
        (tools / "which-project").chmod(0o755)
        env = {f"KEY_OF_{name.upper()}": value, "PATH": f"{tools}:{home.env['PATH']}"}
        sids[name] = ok(home.cli("create", "-q", "--cli", "codex", cwd=home.workspace(name), env=env)).strip()
    for name, sid in sids.items():
        command = "run which-project; printenv KEY_OF_ONE | md5sum; printenv KEY_OF_TWO | md5sum"
        sums = [md5(f"{value}\n" if own == name else "") for own, value in secrets.items()]
        assert ok(home.cli("ask", sid, command)).split() == ["ran:", name, sums[0], "-", sums[1], "-"]
    # Codex's own snapshots of a shell (0.150) have its environment in any case.
    folders = (home.path / ".dev-sessions", home.path / ".codex" / "sessions")
    assert subprocess.run(["grep", "-rqaE", "(alpha|beta)-secret", *folders], check=False).returncode == 1


def md5(text: str) -> str:
    """Return what `md5sum` prints for a text."""
    return hashlib.md5(text.encode()).hexdigest()


def test_sessions_of_two_codex_homes_live_side_by_side(home: Home) -> None:
    """Each CODEX_HOME has its own app-server, found without the variable later, and ended by its last kill."""
    other = home.path / "other-codex"
    shutil.copytree(home.path / ".codex", other)
    first = create(home, "codex")
    env = {"CODEX_HOME": str(other)}
    second = ok(home.cli("create", "-q", "--cli", "codex", cwd=home.workspace(), env=env)).strip()
    for sid in (first, second):
        assert ok(home.cli("ask", sid, f"say I am {sid}")) == f"I am {sid}\n"
    assert [len(list(root.rglob("rollout-*.jsonl"))) for root in (home.path / ".codex", other)] == [1, 1]
    assert {row["state"] for row in records(home).values()} == {"idle"}
    crash(home, second)
    assert ok(home.cli("ask", second, "history")) == f"1: say I am {second}\n"
    assert ok(home.cli("kill", second)) == f"Killed session {second}\n"
    assert ok(home.cli("ask", first, "say still here")) == "still here\n"
    ok(home.cli("kill", "--all"))
    assert home.leftovers() == {}


def crash(home: Home, sid: str) -> None:
    """Kill the app-server of a session, and wait until it is gone."""
    leader = json.loads((paths_of_server(home, sid) / "state.json").read_text())["pid"]
    os.killpg(leader, signal.SIGKILL)
    assert poll(lambda: leader not in home.leftovers() or None, Deadline(30), 0.02)


def paths_of_server(home: Home, sid: str) -> Path:
    """Return the folder of the app-server of a session's CODEX_HOME."""
    codex_home = os.fsencode(record(home, sid)["codexHome"])
    return home.path / ".dev-sessions" / f"codex-{zlib.crc32(codex_home):08x}"


def test_a_provider_key_that_codex_would_lack_is_refused(home: Home) -> None:
    """create says what to do when the provider's key is missing, here or in the app-server that already runs."""
    create(home, "codex")
    config = home.path / ".codex" / "config.toml"
    config.write_text(config.read_text().replace('name = "fake"', 'name = "fake"\nenv_key = "FAKE_PROVIDER_KEY"'))
    command = ("create", "-q", "--cli", "codex")
    assert_refused(home.cli(*command), "Codex's provider needs FAKE_PROVIDER_KEY, which is not set here; set it, then")
    done = home.cli(*command, env={"FAKE_PROVIDER_KEY": "k"})
    assert_refused(done, "was started without FAKE_PROVIDER_KEY, which its provider needs now; end its sessions")
    ok(home.cli("kill", "--all"))
    sid = ok(home.cli(*command, env={"FAKE_PROVIDER_KEY": "k"})).strip()
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
    done = home.cli(*command, env={"FAKE_PROVIDER_KEY": "of another project"})
    assert_refused(done, "was started with another FAKE_PROVIDER_KEY, which this session would use; create it with a")
    provider = 'name = "other"\nbase_url = "http://127.0.0.1:9/v1"\nwire_api = "responses"\nenv_key = "OTHER_KEY"'
    config.write_text(f"{config.read_text()}\n[model_providers.other]\n{provider}\n")
    done = home.cli(*command, "--", "-c", "model_provider=other", env={"FAKE_PROVIDER_KEY": "k"})
    assert_refused(done, "Codex's provider needs OTHER_KEY, which is not set here; set it, then")
