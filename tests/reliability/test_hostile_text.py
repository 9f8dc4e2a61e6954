"""Show text of agents and other users, on a terminal and elsewhere, without obeying it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from dev_sessions.cli.output import escape_controls
from tests.support.claude import READY_AT_ONCE, fake_claude
from tests.support.cli import ok
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.remote import NAME, Remote

HOSTILE = "\x1b]0;owned\x07\x1b[31m\x9b2J\x7f\u202eend $(touch hacked) #{pane_id}; `id`"
#: Each prints something of the hostile record, or of the hostile argument, on one of its streams.
LINES = [
    ["list", "--all"],
    ["list", "--all", "--json"],
    ["inspect", "fizz-top"],
    ["recover"],
    ["recover", "--all", "--json"],
    ["status", "fizz-top"],
    ["last-message", "fizz-top"],
    ["logs", "fizz-top"],
    ["wait", HOSTILE],
    ["ask", HOSTILE, "hello"],
    ["goal", HOSTILE],
    ["kill", HOSTILE],
    ["create", "--path", HOSTILE],
    ["create", f"--{HOSTILE}"],
    ["send", "fizz-top", "--file", HOSTILE],
    ["doctor"],
]


#: What a terminal obeys, and what this program itself draws with.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
#: A row of `list` in a colour.
COLOURED = re.compile(r"^\x1b\[3[13]m(.*)\x1b\[0m$", re.MULTILINE)
DRAWN = re.compile(r"\x1b\[(?:[HKJ]|\?1049[hl]|\?25[hl])|\r")
#: Another machine that says something hostile wherever it can.
SSH = """#!/bin/sh
for command; do :; done
mark=${command#*echo dev-sessions:}
[ "$mark" = "$command" ] || echo "dev-sessions:${mark%%;*}"
printf 'Warning: %s\\n' "$HOSTILE" >&2
case "$command" in
    *" list "*) cat "$HOME/there.json" ;;
    *" last-message "*) cat "$HOME/said.json" ;;
    *" wait "*) sleep 2.2; echo completed ;;
    *" ask "*) sleep 2.2; printf '%s\\n' "$HOSTILE" ;;
    *) printf '%s\\n' "$HOSTILE" "$HOSTILE" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def elsewhere(env: dict[str, str]) -> dict[str, str]:
    """Return the environment of a user who also has a session on another machine."""
    home = Path(env["HOME"])
    store = home / ".dev-sessions" / "sessions.json"
    there = {**json.loads(store.read_text())["sessions"][0], "championId": "zed-mid"}
    here = {**there, "host": "box", "remoteBin": "dev-sessions", "remoteVersion": "0.5.0"}
    store.write_text(json.dumps({"version": 1, "sessions": [here]}))
    (home / "there.json").write_text(json.dumps([{**there, "state": "working", "waitingFor": HOSTILE}]))
    (home / "said.json").write_text(json.dumps([HOSTILE]))
    (home / "ssh").write_text(SSH)
    (home / "ssh").chmod(0o755)
    return {**env, "PATH": f"{home}:{env['PATH']}", "HOSTILE": HOSTILE, "COLUMNS": "300", "LINES": "50"}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a user with a lost session whose texts are all hostile."""
    conversation = "00000000-0000-4000-8000-000000000000"
    record = {
        "championId": "fizz-top",
        "internalId": conversation,
        "cli": "claude",
        "mode": "native",
        "path": f"/{HOSTILE}",
        "description": HOSTILE,
        "model": HOSTILE,
        "status": "active",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "lastUsed": "2026-01-01T00:00:00.000Z",
    }
    (tmp_path / ".dev-sessions").mkdir(mode=0o700)
    (tmp_path / ".dev-sessions" / "sessions.json").write_text(json.dumps({"version": 1, "sessions": [record]}))
    project = tmp_path / ".claude" / "projects" / "p"
    project.mkdir(parents=True)
    said = {"role": "assistant", "content": [{"type": "text", "text": HOSTILE}], "stop_reason": "end_turn"}
    line = {"type": "assistant", "timestamp": "2026-01-01T00:00:00.000Z", "message": said}
    (project / f"{conversation}.jsonl").write_text(json.dumps(line) + "\n")
    return {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TMUX_TMPDIR": str(tmp_path), "LANG": "C.UTF-8"}


def on_terminal(env: dict[str, str], *arguments: str, until: str | None = None) -> str:
    """Return a command's output on a terminal until it ends, or until Ctrl-C once `until` is shown."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (50, 300))
    argv = [sys.executable, "-m", "dev_sessions", *arguments]
    with subprocess.Popen(argv, stdin=follower, stdout=follower, stderr=follower, env=env, cwd=env["HOME"]) as child:
        os.close(follower)
        timeout = threading.Timer(60, child.kill)
        timeout.start()
        data = b""
        while True:
            try:
                more = os.read(leader, 65536)
            except OSError:  # on Linux the end of what its programs print
                more = b""
            if not more:
                break
            data += more
            if until is not None and until.encode() in data:
                child.send_signal(signal.SIGINT)
                until = None
        timeout.cancel()
    os.close(leader)
    return data.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("arguments", LINES, ids=lambda line: " ".join(line).replace(HOSTILE, "HOSTILE"))
def test_no_command_sends_a_terminal_what_others_have_written(env: dict[str, str], arguments: list[str]) -> None:
    """Escape sequences in a reply, a record, an argument or an error are shown, never obeyed."""
    printed = on_terminal(env, *arguments)
    assert printed.strip()
    assert "Traceback" not in printed
    assert not OBEYED.search(COLOURED.sub(r"\1", printed))
    assert not (Path(env["HOME"]) / "hacked").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["status", "zed-mid"],
        ["wait", "zed-mid"],
        ["ask", "zed-mid", "hello"],
        ["last-message", "zed-mid"],
        ["kill", "--all", "--yes"],
        ["create", "--host", "box"],
    ],
    ids=" ".join,
)
def test_no_other_machine_commands_this_terminal(elsewhere: dict[str, str], arguments: list[str]) -> None:
    """Escape sequences in another machine's warnings, errors, replies and records are shown, never obeyed, also in the
    progress of a wait."""
    printed = on_terminal(elsewhere, *arguments)
    assert "owned" in printed
    assert "Traceback" not in printed
    assert not OBEYED.search(COLOURED.sub(r"\1", DRAWN.sub("", printed)))
    assert ("zed-mid …" in printed) == (arguments[0] in ("wait", "ask"))


def test_list_watch_shows_texts_without_escape_sequences(elsewhere: dict[str, str]) -> None:
    """list --watch shows the last line of each session, local and remote, without escape sequences."""
    printed = on_terminal(elsewhere, "list", "--all", "--watch", until="SAID LAST")
    assert "zed-mid" in printed
    assert "Traceback" not in printed
    assert not OBEYED.search(COLOURED.sub(r"\1", DRAWN.sub("", printed)))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_offered_nothing_that_it_would_obey(env: dict[str, str], shell: str) -> None:
    """Completion shows a description without escape sequences, and never inserts an invalid id into a command line."""
    store = Path(env["HOME"]) / ".dev-sessions" / "sessions.json"
    (session,) = json.loads(store.read_text())["sessions"]
    sessions = [session, {**session, "championId": "$(touch hacked)"}]
    store.write_text(json.dumps({"version": 1, "sessions": sessions}))
    done = subprocess.run(
        ["dev-sessions"],
        executable=Path(sys.executable).with_name("dev-sessions"),
        capture_output=True,
        encoding="utf-8",
        env={
            **env,
            "_DEV_SESSIONS_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": "dev-sessions status ",
            "COMP_CWORD": "2" if shell != "fish" else "",
        },
        check=True,
    )
    assert "fizz-top" in done.stdout
    assert not re.search(r"^(plain,)?\$\(touch", done.stdout, re.MULTILINE)
    assert not OBEYED.search(done.stdout)


def test_json_on_a_terminal_is_what_it_is_elsewhere(env: dict[str, str]) -> None:
    """JSON copied from a terminal holds the same text as JSON read from a pipe."""
    assert json.loads(on_terminal(env, "last-message", "fizz-top", "--json")) == [HOSTILE]
    assert json.loads(on_terminal(env, "inspect", "fizz-top"))["description"] == HOSTILE


@pytest.mark.parametrize(("options", "text"), [([], HOSTILE), (["--json"], json.dumps([HOSTILE]))])
def test_in_a_pipe_a_reply_is_kept_to_the_letter(env: dict[str, str], options: list[str], text: str) -> None:
    """A program that reads a reply from a pipe gets every character, escape sequences included."""
    done = subprocess.run(
        [sys.executable, "-m", "dev_sessions", "last-message", "fizz-top", *options],
        capture_output=True,
        encoding="utf-8",
        env=env,
        check=True,
    )
    assert json.loads(done.stdout) == json.loads(text) if options else done.stdout == f"{text}\n"


def test_what_people_write_is_left_as_it_is() -> None:
    """Tabs, line breaks, other alphabets and emoji are shown unchanged."""
    text = "a\tb\n\u05e9\u05dc\u05d5\u05dd caf\u0065\u0301 \U0001f469\u200d\U0001f4bb\u200f"
    assert escape_controls(text) == text
    assert escape_controls("one\r\ntwo\rthree\x1b[0m") == "one\ntwo\\u000dthree\\u001b[0m"


#: Says what it was started with and where, and that it is ready.
TELLS = READY_AT_ONCE.replace("while [ $# -gt 1 ]", """printf '%s\\0' "$PWD" "$@" > "$HOME/told"\nwhile [ $# -gt 1 ]""")
#: What a shell, tmux, printf or ssh would make something else of. A branch of git's can hold most of it, too.
SIGNS = "#(touch hacked) #{pane_id} $(touch hacked) `touch hacked` %s %h \\ 'q' \"q\" & | ~ * \n-x; touch hacked;"
BRANCH = "x#(id>hacked)#{pane_id}$(id>hacked)`id>hacked`%s'q'\"q\"&|!-x;id>hacked;"


@pytest.mark.parametrize("where", ["here", "there"])
def test_what_a_session_is_made_with_is_text(home: Home, model: ScriptedModel, where: str) -> None:
    """The folder, branch, model and description of a session arrive unchanged, here and over ssh, and nothing in them
    is run."""
    with Home(model.port) as far, Remote(home, far):
        machine, host = (far, ["--host", NAME]) if where == "there" else (home, [])
        machine.env.update(fake_claude(machine, TELLS))
        machine.configure_login_shells()
        repository = machine.workspace(SIGNS.replace("\n", ""))
        for command in ("git init -q", "git commit -q --allow-empty -m begin"):
            ok(machine.run(*command.split(), cwd=repository))
        made_of = ["--model", SIGNS, "--description", SIGNS, "--path", str(repository), f"--worktree={BRANCH}"]
        sid = ok(home.cli("create", "-q", *host, *made_of)).strip()
        worktree = f"{repository}.worktrees/{sid}"
        started_in, *arguments, _ = (machine.path / "told").read_text().split("\0")
        assert started_in == worktree
        assert arguments[arguments.index("--model") + 1] == SIGNS
        (row,) = json.loads(ok(home.cli("list", "--json")))
        assert (row["description"], row["path"], row["model"]) == (SIGNS, worktree, SIGNS)
        assert ok(machine.run("git", "branch", "--show-current", cwd=Path(worktree))) == f"{BRANCH}\n"
        assert home.cli("create", "--host", "$(touch${IFS}hacked)").returncode == 255
        assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
        assert not Path(worktree).exists()
        assert [*home.path.rglob("hacked"), *far.path.rglob("hacked")] == []
