"""A Claude session as a person sees it: its screen, keys, mode and transcript; and stand-ins for the program."""

from __future__ import annotations

import json
import os
import re
import signal
from functools import partial
from pathlib import Path

import pytest

from dev_sessions.claude.message_text import FIRST_WRAPPING_PASTES
from dev_sessions.claude.screen import box_text
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.process import parent
from dev_sessions.system.version import parse_version
from tests.support.agents import pinned
from tests.support.cli import ok, record
from tests.support.home import Home

VERSION = parse_version(pinned()["claude"])
#: Whether this version calls long pastes pasted text.
MARKS = VERSION >= FIRST_WRAPPING_PASTES
#: A turn that does not end by itself.
LONG_TOOL = "run while true; do sleep 1; done"

#: Programs to put in the place of `claude`: one that never gets ready, one that ends at once with an error, and
#: one that writes Claude's session file, as 2.1.330 does when it is ready, and does nothing more.
NOT_READY = "#!/bin/sh\necho thinking about it\nexec sleep 60\n"
DIES = "#!/bin/sh\necho 'no space on the moon' >&2\nexit 7\n"
READY_AT_ONCE = """\
#!/bin/sh
[ "$1" = --version ] && echo '2.1.330 (Claude Code)' && exit
while [ $# -gt 1 ]; do case $1 in --session-id|--resume) id=$2 ;; esac; shift; done
mkdir -p "$HOME/.claude/sessions"
printf '{"pid":%d,"sessionId":"%s","version":"2.1.330","status":"idle","statusUpdatedAt":1}' $$ "$id" \\
    > "$HOME/.claude/sessions/$$.json"
exec sleep 1000
"""


def fake_claude(home: Home, script: str) -> dict[str, str]:
    """Write a script in the place of `claude`; return the PATH on which it comes first."""
    program = home.workspace("fake") / "claude"
    program.write_text(script)
    program.chmod(0o755)
    return {"PATH": f"{program.parent}{os.pathsep}{home.env['PATH']}"}


def create_stand_in(home: Home) -> str:
    """Create a session in which a stand-in runs in the place of Claude, with a transcript that has one message, and
    return its id."""
    argv = ("create", "-q", "--cli", "claude")
    sid = ok(home.cli(*argv, cwd=home.workspace(), env=fake_claude(home, READY_AT_ONCE))).strip()
    written = home.path / ".claude" / "projects" / "any" / f"{record(home, sid)['internalId']}.jsonl"
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text('{"type":"user","uuid":"1","message":{"role":"user","content":"hi"}}\n')
    return sid


def add_settings(home: Home, **settings: object) -> None:
    """Add to the user's settings of Claude."""
    path = home.path / ".claude" / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def lose(home: Home, sid: str, what: str) -> None:
    """End a session's `process`, its tmux `session`, or the tmux `server`, and wait until the session is lost."""
    if what == "process":
        os.kill(record(home, sid)["claudePid"], signal.SIGKILL)
    else:
        ok(home.tmux("kill-server") if what == "server" else home.tmux("kill-session", "-t", f"=dev-{sid}"))
    assert poll(lambda: home.cli("status", sid).returncode or None, Deadline(30), 0.1)


def claude_processes(home: Home, sid: str) -> list[int]:
    """Return the ids of the processes that have the session's conversation open.

    They are known by its id in their arguments, which a child has, too, until it becomes another program.
    """
    conversation = f" {record(home, sid)['internalId']}"
    found = [pid for pid, line in home.leftovers().items() if conversation in line]
    return [pid for pid in found if parent(pid) not in (0, *found)]


def process_environment(home: Home, sid: str) -> dict[str, str]:
    """Return the environment of a session's Claude."""
    variables = Path(f"/proc/{record(home, sid)['claudePid']}/environ").read_text(encoding="utf-8").split("\0")
    return dict(variable.split("=", maxsplit=1) for variable in variables if variable)


def assert_interrupted(home: Home, sid: str) -> None:
    """Assert that `wait` reports the turn as interrupted, every time."""
    for _ in range(2):
        done = home.cli("wait", sid)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"The turn of {sid} was interrupted")


def mode_of(home: Home, sid: str) -> str:
    """Return the mode that Claude shows below its input box, or nothing."""
    shown = re.search(r"(manual mode|plan mode|auto mode|accept edits|bypass permissions) on", screen(home, sid))
    # Up to 2.1.300 or so the mode that asks has no name there.
    asks = "manual mode" if "? for shortcuts" in screen(home, sid) else ""
    return shown[1] if shown else asks


def switch_to(home: Home, sid: str, wanted: str) -> None:
    """Press Shift-Tab until Claude shows the given mode."""

    def another(before: str) -> bool | None:
        return mode_of(home, sid) not in ("", before) or None

    for _ in range(6):
        before = mode_of(home, sid)
        if before == wanted:
            return
        press(home, sid, "BTab")
        assert poll(partial(another, before), Deadline(30), 0.05)
    pytest.fail(f"no {wanted}")


def sent_state(home: Home, *arguments: str, stdin: str | None = None) -> str:
    """Send a message and return the state in its receipt: submitted, queued …"""
    state: str = json.loads(ok(home.cli("send", *arguments, "--json", stdin=stdin)))["state"]
    return state


def press(home: Home, sid: str, *keys: str) -> None:
    """Press keys in the session's terminal, by their tmux names."""
    ok(home.tmux("send-keys", "-t", f"=dev-{sid}:", *keys))


def end_what_is_left(home: Home, sid: str) -> None:
    """End what a failed test has left in a session that others share: a turn that does not end, or a dialog."""
    if home.cli("status", sid).stdout in ("working\n", "waiting_for_input\n"):
        home.cli("interrupt", sid)


def in_a_tool(home: Home, sid: str, begun: str = "begun") -> None:
    """Send a message whose turn does not end by itself, and wait until its tool runs, which writes the file `begun`.

    A busy Claude may leave the call out of its transcript for as long as the tool runs.
    """
    mark = home.workspace() / begun
    mark.unlink(missing_ok=True)
    ok(home.cli("send", sid, f"run touch {begun}; {LONG_TOOL.removeprefix('run ')}"))
    assert poll(lambda: mark.exists() or None, Deadline(30), 0.05)


def type_draft(home: Home, sid: str, text: str) -> None:
    """Paste a text into the input box without Enter, and wait until it is shown there."""
    ok(
        home.tmux(
            "load-buffer", "-b", "t", "-", ";", "paste-buffer", "-p", "-d", "-b", "t", "-t", f"=dev-{sid}:", stdin=text
        )
    )
    # What was said before is above the box, and may have the same words.
    assert poll(lambda: text.split("\n", maxsplit=1)[0] in below_prompt(home, sid) or None, Deadline(30), 0.05)


def below_prompt(home: Home, sid: str) -> str:
    """Return what the screen shows from the last prompt on: the text in the box; or all, in a box of many rows."""
    return screen(home, sid).rpartition("❯")[2]


def box(home: Home, sid: str) -> str | None:
    """Return the text in the session's input box, or None where there is no box."""
    return box_text(ok(home.tmux("capture-pane", "-e", "-p", "-t", f"=dev-{sid}:")))


def screen(home: Home, sid: str) -> str:
    """Return what the session's terminal shows."""
    return ok(home.tmux("capture-pane", "-p", "-t", f"=dev-{sid}:"))


def transcript(home: Home, sid: str) -> str:
    """Return the session's transcript as text: none before the first message."""
    internal_id = json.loads(ok(home.cli("inspect", sid)))["internalId"]
    paths = (home.path / ".claude" / "projects").rglob(f"{internal_id}.jsonl")
    return "".join(path.read_text(encoding="utf-8") for path in paths)
