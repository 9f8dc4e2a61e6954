"""Any command line, environment and store: an answer or one clear error, and never a traceback."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dev_sessions.cli import COMMANDS, cli
from dev_sessions.models import SESSION_TYPES
from dev_sessions.record_json import json_name
from dev_sessions.system import paths
from tests.support.forks import ForkServer
from tests.support.records import CLAUDE, TIME

#: Without slashes, so that nothing outside of the home is named.
TEXTS = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), max_size=20)
ODD = st.sampled_from(
    [
        *("", " ", "-", "--", "-1", "0", "1", "²", "٣", "nan", "inf", "1e300", "1e-300", "9" * 25, "9" * 5000, "0x1"),
        *("a\nb", "a\rb", "\x1b[2J", "\u202e", "~", "~nobody-at-all", "%s", "{}", "x" * 5000, ".", "..", "\udcff"),
        *("fizz-top", "vi-jg", "1d", "9999999999d", "2026-01-01", "true", "null", "claude", "codex", "box", "$(id)"),
    ]
)
VALUES = ODD | TEXTS
URLS = [
    "http://127.0.0.1:1",
    "http://[",
    "http://",
    "http://127.0.0.1:99999",
    "http://127.0.0.1:²",
    "unix:///x",
    "ftp://x",
]
NAMES = [
    *(
        "CLAUDE_CONFIG_DIR",
        "CODEX_HOME",
        "TMUX",
        "TMUX_PANE",
        "TMUX_TMPDIR",
        "TERM",
        "COLUMNS",
        "LANG",
        "TZ",
        "NO_COLOR",
    ),
    *("DEV_SESSIONS_ID", "DEV_SESSIONS_CREATED_AT", "CLAUDE_PID", "CODEX_THREAD_ID", "IS_SANDBOX"),
    *(paths.READY_TIMEOUT_MS, paths.GATEWAY_TOKEN, paths.GATEWAY_TOKEN_FILE, paths.GATEWAY_PORT),
    *(paths.REMOTE_BIN, paths.CONTAINER_WORKSPACE, paths.HOST_PATH),
]
VARIABLES = {
    **dict.fromkeys(NAMES, VALUES),
    paths.SANDBOX: st.sampled_from(["1", "", "0", "yes"]),
    paths.GATEWAY_URL: st.sampled_from(URLS) | TEXTS.filter(lambda text: not text.startswith("http")),
}
#: No process of this machine has these ids.
PIDS = st.sampled_from([2**22 + 5, 2**31 - 1, 2**31, 2**63, 10**400, True, "5", None])
JSON = st.recursive(
    ODD | TEXTS | st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(["\ud800", "a\0b"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=3,
)


def _commands() -> dict[tuple[str, ...], click.Command]:
    context = click.Context(cli)
    found: dict[tuple[str, ...], click.Command] = {}
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        # `gateway` itself serves until it is ended.
        children = command.commands if isinstance(command, click.Group) else {"": command}
        found |= {(name, child) if child else (name,): each for child, each in children.items()}
    return found


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Return a command with some of its options and arguments."""
    names, command = draw(st.sampled_from(sorted(_commands().items())))
    words: list[str] = []
    for parameter in command.params:
        count = draw(st.integers(0, 2))
        if isinstance(parameter, click.Argument):
            words += [draw(VALUES) for _ in range(max(count, parameter.required))]
        elif "--watch" not in parameter.opts and count == 2:  # it lasts until it is ended
            words.append(draw(st.sampled_from(parameter.opts)))
            words += [] if parameter.is_flag else [draw(VALUES)]  # type: ignore[attr-defined] # of an option
    return [*names, *words, *draw(st.lists(VALUES, max_size=1))]


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """Return a session's record in which some fields have other values."""
    agent = draw(st.sampled_from(sorted(SESSION_TYPES)))
    record: dict[str, Any] = {**CLAUDE, "cli": agent, "championId": draw(st.sampled_from(["fizz-top", "vi-jg"]))}
    names = [json_name(field.name) for field in fields(SESSION_TYPES[agent]) if field.name != "extra"]
    for name in draw(st.lists(st.sampled_from([*names, "createdAt", "lastUsed", "new"]), max_size=4)):
        record[name] = draw(PIDS if name.endswith("Pid") else JSON | st.just(TIME))
    return record


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServer]:
    """Provide a process that forks commands."""
    with ForkServer() as server:
        yield server


def _check(forks: ForkServer, line: list[str], variables: dict[str, str], stored: list[Any], stdin: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, ".dev-sessions", "sessions.json")
        store.parent.mkdir(mode=0o700)
        store.write_text(json.dumps({"version": 1, "sessions": stored}))
        # Without any program: nothing is started, and no other machine asked.
        env = {**variables, "HOME": folder, "PATH": "/nowhere"}
        done = forks.run(line, stdin=stdin, cwd=Path(folder), timeout=30, env=env)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 1, 2, 3, 124, 255), done
    if done.returncode == 2 and line[0] != "recover":
        assert done.stderr.endswith(" --help)\n"), done.stderr


INPUTS = given(
    line=command_lines(),
    variables=st.fixed_dictionaries({}, optional=VARIABLES),
    stored=st.lists(records() | JSON, max_size=3),
    stdin=TEXTS,
)
FOR_FORKS = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}


@settings(max_examples=100, derandomize=True, **FOR_FORKS)  # type: ignore[arg-type] # of several types
@INPUTS
def test_no_input_ends_in_a_traceback(
    forks: ForkServer, line: list[str], variables: dict[str, str], stored: list[Any], stdin: str
) -> None:
    """A command ends with an answer or a clear error, whatever its arguments, variables and records are."""
    _check(forks, line, variables, stored, stdin)


@pytest.mark.soak
@settings(max_examples=6_000, **FOR_FORKS)  # type: ignore[arg-type] # of several types
@INPUTS
def test_no_input_ends_in_a_traceback_for_minutes(
    forks: ForkServer, line: list[str], variables: dict[str, str], stored: list[Any], stdin: str
) -> None:
    """The same, with many more inputs."""
    _check(forks, line, variables, stored, stdin)
