"""Which modules a command loads."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dev_sessions
from dev_sessions.models import timestamp
from dev_sessions.system.process import start_time
from tests.support.cli import needs_proc
from tests.support.scripted_app_server import Script, app_server, refuse, say

SOURCE = Path(dev_sessions.__file__).parent
HEAVY = {"websockets", "asyncio", "http", "filelock", "subprocess", "pydantic"}
#: What costs a millisecond or more, and what only writers need.
HEAVY_FOR_READERS = HEAVY | {"hashlib", "random", "shutil", "tempfile"}
#: What libraries would load, and nothing of ours uses.
NEEDLESS = {"importlib.metadata", "ssl", "urllib.request", "websockets.sync.client"}
#: Of ours, by what they are for: to type, to look at a screen, to start, to end.
FOR_WRITERS = {
    "dev_sessions.sessions.kill_many",
    "dev_sessions.claude.questions",
    "dev_sessions.claude.send",
    "dev_sessions.claude.proof",
    "dev_sessions.claude.dialogs",
    "dev_sessions.claude.terminal_state",
    "dev_sessions.claude.pane",
    "dev_sessions.claude.tmux",
    "dev_sessions.claude.screen",
    "dev_sessions.claude.message",
    "dev_sessions.claude.start",
    "dev_sessions.claude.stop",
    "dev_sessions.claude.interrupt",
    "dev_sessions.claude.terminal",
    "dev_sessions.codex.fork",
    "dev_sessions.codex.interrupt",
    "dev_sessions.codex.orphans",
    "dev_sessions.codex.questions",
    "dev_sessions.codex.recover",
    "dev_sessions.codex.send",
    "dev_sessions.codex.start",
    "dev_sessions.codex.stop",
    "dev_sessions.codex.terminal",
    "dev_sessions.claude.orphans",
    "dev_sessions.claude.fork",
    "dev_sessions.sessions.create",
    "dev_sessions.sessions.kill",
    "dev_sessions.sessions.send",
    "dev_sessions.sessions.fork",
    "dev_sessions.sessions.worktree_files",
    "dev_sessions.sessions.end",
    "dev_sessions.json_validation",
    "dev_sessions.sessions.process_tree",
    "dev_sessions.sessions.recover",
    "dev_sessions.sessions.worktree",
    "dev_sessions.sessions.worktree_removal",
    "dev_sessions.sessions.git",
}
CLAUDE_ID, CODEX_ID = "4d1e8066-7cd4-407a-990f-9d0a60769dba", "thread-1"
THREAD: dict[str, Any] = {"thread": {"id": CODEX_ID, "status": {"type": "idle"}}}
TURNS: dict[str, Any] = {"data": [{"id": "turn-1", "status": "completed", "items": []}], "nextCursor": None}

#: Of each command line, the heavy modules that it may load on a machine without sessions.
ALLOWED: list[tuple[list[str], set[str]]] = [
    (["--version"], set()),
    (["--help"], set()),
    (["status", "fizz-top"], set()),
    (["last-message", "fizz-top"], set()),
    (["logs", "fizz-top"], set()),
    (["inspect", "fizz-top"], set()),
    (["wait", "fizz-top"], set()),
    (["wait", "fizz-top", "--goal"], set()),
    (["goal", "fizz-top"], set()),
    (["goal", "fizz-top", "work"], set()),
    (["list"], set()),
    (["recover"], set()),
    (["recover", "fizz-top"], set()),
    (["recover", "--prune", "--yes"], set()),
    (["send", "fizz-top", "hello"], set()),
    (["gateway", "status"], {"http", "subprocess"}),
    (["install-skill"], set()),
    (["doctor", "--help"], set()),
]


@pytest.mark.parametrize(
    ("arguments", "allowed"), ALLOWED, ids=lambda value: " ".join(sorted(value) if isinstance(value, set) else value)
)
def test_a_command_loads_only_what_it_uses(arguments: list[str], allowed: set[str], tmp_path: Path) -> None:
    """A command that only reads pays for no lock, no network and no subprocess."""
    code = "import sys\nfrom dev_sessions.cli import run\nrun(sys.argv[1:])\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path)},
        check=False,
    )
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "click" in loaded
    assert loaded & HEAVY <= allowed


@pytest.fixture(scope="module")
def busy_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Provide a home with an idle session of each agent: this process stands in for Claude, a script for the
    app-server."""
    home = tmp_path_factory.mktemp("h")
    now = time.time()
    common = {"mode": "native", "path": "/", "createdAt": timestamp(now - 60), "lastUsed": timestamp(now - 60)}
    started = start_time(os.getpid())
    claude = {"internalId": CLAUDE_ID, "claudePid": os.getpid(), "claudeProcStart": started}
    records = [
        {**common, "championId": "fizz-top", "cli": "claude", **claude},
        {**common, "championId": "vi-jg", "cli": "codex", "internalId": CODEX_ID, "codexActiveTurnId": "turn-1"},
    ]
    fields = {"pid": os.getpid(), "sessionId": CLAUDE_ID, "status": "idle", "procStart": started}
    for name, content in {
        ".dev-sessions/sessions.json": {"version": 1, "sessions": records},
        f".claude/sessions/{os.getpid()}.json": {**fields, "version": "2.1.330", "statusUpdatedAt": (now - 30) * 1000},
    }.items():
        (home / name).parent.mkdir(parents=True, mode=0o700)
        (home / name).write_text(json.dumps(content))
    begun = '{"id": #, "result": {"turn": {"id": "turn-2"}}}', '{"method": "turn/started", "params": %s}'
    about = json.dumps({"threadId": CODEX_ID, "turn": {"id": "turn-2"}})
    answers: Script = {
        "thread/read": THREAD,
        "thread/turns/list": TURNS,
        "thread/goal/get": {"goal": None},
        "turn/steer": refuse("no active turn to steer"),
        "turn/start": say(begun[0], begun[1] % about),
    }
    (home / ".dev-sessions" / "codex").mkdir(mode=0o700)
    with app_server(home / ".dev-sessions" / "codex" / "app-server.sock", answers):
        yield home


def loaded_by(home: Path, *arguments: str) -> set[str]:
    """Return the modules that a command line has loaded when it ends."""
    code = "import sys\nfrom dev_sessions.cli import run\nprint(run(sys.argv[1:]), *sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={"HOME": str(home)},
        check=False,
    )
    # A warning may stand before it.
    exit_code, *loaded = done.stderr.splitlines()[-1].split()
    assert exit_code == "0", done.stderr
    return set(loaded)


@pytest.mark.parametrize("session", ["fizz-top", "vi-jg"], ids=["claude", "codex"])
@needs_proc  # without /proc a reader starts ps
@pytest.mark.parametrize(
    "command", [["status"], ["status", "--json"], ["last-message"], ["logs"], ["wait"]], ids=" ".join
)
def test_who_reads_a_session_loads_nothing_for_writing(command: list[str], session: str, busy_home: Path) -> None:
    """Asking what a session does or said pays for no lock, no subprocess and nothing that types."""
    loaded = loaded_by(busy_home, *command, session)
    assert not FOR_WRITERS & loaded
    # websockets brings its own, but for the client of it that has a thread.
    allowed = {"websockets", "http", "hashlib", "random", "shutil", "tempfile"} if session == "vi-jg" else set()
    assert {name.partition(".")[0] for name in loaded} & HEAVY_FOR_READERS <= allowed
    assert not NEEDLESS & loaded


def test_who_sends_to_codex_starts_no_program(busy_home: Path) -> None:
    """A message to Codex pays for its connection, and for no lock that is free, no program and no check of records."""
    loaded = loaded_by(busy_home, "send", "vi-jg", "hello")
    assert not ({"filelock", "subprocess", "pydantic", "asyncio"} | NEEDLESS) & loaded


def imports_of(path: Path) -> set[str]:
    """Return our modules that a file imports at run time, anywhere in it."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dev_sessions"):
            found |= {f"{node.module}.{name.name}" for name in node.names} | {str(node.module)}
    return found & set(modules())


def modules() -> dict[str, Path]:
    """Return every module of the package."""
    return {
        ".".join(("dev_sessions", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in SOURCE.rglob("*.py")
    }


def test_no_import_goes_in_a_circle() -> None:
    """The modules form layers without circular imports."""
    graph = {name: imports_of(path) - {name, "dev_sessions"} for name, path in modules().items()}
    while leaves := {name for name, needs in graph.items() if not needs & graph.keys()}:
        for name in leaves:
            del graph[name]
    assert graph == {}


#: From the bottom up. A module imports from its own layer and from those below it, but no agent imports another one.
LAYERS = (
    ("errors", "system"),
    (
        "models",
        "operations",
        "failures",
        "attempt",
        "answers",
        "arguments",
        "record_json",
        "json_validation",
        "jsonl",
        "skills",
        "agent_options",
    ),
    ("agent",),
    ("claude", "codex"),
    ("sessions",),
    ("gateway", "remote"),
    ("routing",),
    ("doctor",),
    ("cli",),
    ("__main__",),
)


def test_nothing_imports_upwards() -> None:
    """A module imports only from its own layer or from those below."""
    height = {name: number for number, names in enumerate(LAYERS) for name in names}
    for name, path in modules().items():
        package = name.split(".")[1] if "." in name else None
        for needed in imports_of(path) - {"dev_sessions", name}:
            other = needed.split(".")[1]
            if package is not None:
                assert height[other] <= height[package], f"{name} imports {needed}"
                assert {package, other} != {"claude", "codex"}, f"{name} imports {needed}"


@pytest.mark.parametrize(
    "name",
    [
        "sessions/champion_ids",
        "claude/transcript",
        "claude/conversation",
        "claude/message_text",
        "claude/turn",
        "claude/message",
        "claude/failure",
        "codex/failure",
        "failures",
        "answers",
        "claude/screen",
        "cli/render",
        "codex/jsonrpc",
        "codex/protocol",
        "codex/turns",
        "codex/goal_protocol",
        "codex/question_protocol",
        "codex/rollout",
        "gateway/access",
        "gateway/http_codec",
        "remote/command_line",
    ],
)
def test_pure_modules_do_nothing(name: str) -> None:
    """Parsers get the outside world as arguments."""
    tree = ast.parse((SOURCE / f"{name}.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {"os", "time", "socket", "subprocess", "pathlib", "sys", "threading"}
