"""Sessions in a terminal that a person uses, who scrolls, types into several panes at once or has a small screen."""

from __future__ import annotations

import json

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import press, screen
from tests.support.cli import create, needs_proc, ok, record, records
from tests.support.home import Home
from tests.support.person import Person

pytestmark = pytest.mark.forked

#: The modes of tmux in which it takes the keys of a pane for itself.
MODES = {
    "copy": ["copy-mode"],
    "scrolled": ["copy-mode", "-u"],
    "clock": ["clock-mode"],
    "tree": ["choose-tree"],
    "view": ["run-shell", "echo this is what a command printed"],
}


def enter_mode(home: Home, sid: str, mode: str) -> None:
    """Put the session's pane into a mode of tmux's, as a person does who then leaves."""
    ok(home.tmux(MODES[mode][0], "-t", f"=dev-{sid}:", *MODES[mode][1:]))
    assert poll(lambda: in_mode(home, sid) or None, Deadline(30), 0.05)


def in_mode(home: Home, sid: str) -> bool:
    """Return whether the session's pane is in a mode."""
    return ok(home.tmux("display-message", "-p", "-t", f"=dev-{sid}:", "#{pane_in_mode}")) != "0\n"


@pytest.fixture
def sid(shared_home: Home) -> str:
    """Provide a session that the tests of this file share."""
    return next(iter(records(shared_home)), "") or create(shared_home, "claude")


@pytest.mark.parametrize(
    ("mode", "keys"),
    [
        *((mode, "emacs") for mode in ("copy", "tree")),
        pytest.param("clock", "emacs", marks=pytest.mark.matrix),
        *(pytest.param(mode, "emacs", marks=pytest.mark.soak) for mode in ("scrolled", "view")),
        pytest.param("copy", "vi", marks=pytest.mark.soak),
    ],
)
def test_a_session_that_somebody_scrolled_is_served(shared_home: Home, sid: str, mode: str, keys: str) -> None:
    """In every mode of tmux's, a message, a command, an answer and an interrupt reach Claude."""
    home = shared_home
    ok(home.tmux("set-option", "-g", "mode-keys", keys))
    enter_mode(home, sid, mode)
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
    enter_mode(home, sid, mode)
    ok(home.cli("send", sid, "ask Which colour? | red | blue"))
    assert home.cli("wait", sid).returncode == 3
    enter_mode(home, sid, mode)
    ok(home.cli("respond", sid, "blue"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "answered: blue\n"
    ok(home.cli("send", sid, "hang"))
    enter_mode(home, sid, mode)
    assert home.cli("interrupt", sid).stderr == f"Not delivered to {sid}: hang\n"
    assert home.cli("wait", sid).returncode == 1


def test_keys_reach_only_the_session(shared_home: Home, sid: str) -> None:
    """With synchronised panes, nothing that is sent to a session goes to another pane of the window."""
    home, window = shared_home, f"=dev-{sid}:"
    claude = ok(home.tmux("display-message", "-p", "-t", window, "#{pane_id}")).strip()
    ok(home.tmux("split-window", "-d", "-t", window, "cat"))
    ok(home.tmux("set-option", "-w", "-t", window, "synchronize-panes", "on"))
    (other,) = [
        pane for pane in ok(home.tmux("list-panes", "-t", window, "-F", "#{pane_id}")).split() if pane != claude
    ]
    ok(home.cli("send", sid, "ask Which colour? | red | blue"))
    assert home.cli("wait", sid).returncode == 3
    ok(home.cli("respond", sid, "1"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    ok(home.cli("send", sid, "hang"))
    assert home.cli("interrupt", sid).stderr == f"Not delivered to {sid}: hang\n"
    assert home.cli("wait", sid).returncode == 1
    shown = ok(home.tmux("capture-pane", "-p", "-t", other))
    assert shown.strip() == ""
    ok(home.tmux("kill-pane", "-t", other))


def size_of(home: Home, sid: str) -> str:
    """Return the size of the session's window."""
    return ok(home.tmux("display-message", "-p", "-t", f"=dev-{sid}:", "#{window_width}x#{window_height}")).strip()


#: Columns and rows of terminals that people have; tmux's status line takes a row.
PHONE, TINY, LOW = (20, 10), (12, 5), (80, 6)


@pytest.mark.parametrize(
    ("columns", "rows"),
    [TINY, pytest.param(*LOW, marks=pytest.mark.matrix), pytest.param(*PHONE, marks=pytest.mark.soak)],
)
def test_a_person_with_a_small_terminal(shared_home: Home, sid: str, columns: int, rows: int) -> None:
    """Messages and questions work while a small terminal shows the session, and then it has its size again."""
    home, small = shared_home, f"{columns}x{rows - 1}"
    with Person(home, columns, rows) as person:
        person.types(f"tmux -S {record(home, sid)['tmuxSocket']} attach -t =dev-{sid}", "Enter")
        assert poll(lambda: size_of(home, sid) == small or None, Deadline(30), 0.05)
        assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
        assert size_of(home, sid) == small
        assert ok(home.cli("ask", sid, "say one\ntwo\nthree")) == "one\ntwo\nthree\n"
        assert ok(home.cli("ask", sid, "say" + " long" * 300)) == "long " * 299 + "long\n"
        for answer in ("blue", "some other colour"):
            ok(home.cli("send", sid, "ask Which colour do you like best of all? | red | blue"))
            assert home.cli("wait", sid).returncode == 3
            assert "Which colour do you like" in ok(home.cli("last-message", sid))
            assert size_of(home, sid) == small
            ok(home.cli("respond", sid, answer))
            assert ok(home.cli("wait", sid)) == "completed\n"
            assert ok(home.cli("last-message", sid)) == f"answered: {answer}\n"
        assert size_of(home, sid) == small
    # Nobody looks any more, and the window was left small.
    assert ok(home.cli("ask", sid, "say bye")) == "bye\n"


def test_a_narrow_split_of_the_window(shared_home: Home, sid: str) -> None:
    """In a split that leaves Claude 15 columns everything works, and the split is as before afterwards."""
    home, window = shared_home, f"=dev-{sid}:"
    claude = record(home, sid)["tmuxPane"]
    ok(home.tmux("resize-window", "-t", window, "-x", "200", "-y", "50"))
    ok(home.tmux("split-window", "-h", "-l", "184", "-t", window, "cat"))
    layout = ok(home.tmux("display-message", "-p", "-t", window, "#{window_layout} #{pane_id}"))
    assert ok(home.tmux("display-message", "-p", "-t", claude, "#{pane_width}")) == "15\n"
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
    ok(home.cli("send", sid, "ask Which colour do you like best of all? | red | blue"))
    assert home.cli("wait", sid).returncode == 3
    ok(home.cli("respond", sid, "blue"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.tmux("display-message", "-p", "-t", window, "#{window_layout} #{pane_id}")) == layout
    ok(home.tmux("kill-pane", "-t", window))
    # It has the size of its clients again.
    ok(home.tmux("set-option", "-w", "-u", "-t", window, "window-size"))


def test_people_come_and_go(shared_home: Home, sid: str) -> None:
    """Messages get their replies while a person attaches, detaches, opens another window, or closes the terminal."""
    home, window = shared_home, f"=dev-{sid}:"
    socket = record(home, sid)["tmuxSocket"]
    attach = f"tmux -S {socket} attach -t =dev-{sid}"
    ok(home.tmux("set-option", "-g", "focus-events", "on"))

    def clients() -> int:
        return len(ok(home.tmux("list-clients", "-t", f"=dev-{sid}")).splitlines())

    with Person(home, 100, 30) as person:
        for round_, leave in enumerate(("detach", "close", "kill")):
            asks = home.popen("sh", "-c", f'for n in 1 2 3 4; do dev-sessions ask {sid} "say {round_}$n"; done')
            # A client whose terminal was closed may be listed for a moment.
            assert poll(lambda: clients() == 0 or None, Deadline(30), 0.05)
            person.types(attach, "Enter")
            assert poll(lambda: clients() == 1 or None, Deadline(30), 0.05)
            ok(home.tmux("new-window", "-t", window, "cat"))
            if leave == "detach":
                ok(home.tmux("detach-client", "-s", f"=dev-{sid}"))
            elif leave == "close":
                person.closes_the_terminal()
            else:
                ok(home.tmux("select-window", "-t", f"{window}^"))
            assert asks.communicate(timeout=60) == ("".join(f"{round_}{n}\n" for n in (1, 2, 3, 4)), "")
            ok(home.tmux("kill-window", "-t", f"{window}$"))


@needs_proc
def test_a_claude_that_was_suspended_is_brought_back(shared_home: Home, sid: str) -> None:
    """After somebody has pressed Ctrl-Z, the status says so, and the next message is sent."""
    home = shared_home
    assert "suspended" not in records(home)[sid]
    press(home, sid, "C-z")
    assert poll(lambda: " suspended" in screen(home, sid) or None, Deadline(30), 0.05)
    assert poll(lambda: records(home)[sid].get("suspended"), Deadline(30), 0.1) is True
    assert json.loads(ok(home.cli("status", sid, "--json")))["suspended"] is True
    assert ok(home.cli("ask", sid, "say back")) == "back\n"
    assert "suspended" not in records(home)[sid]


def test_what_a_person_types_beside_claude_stays_there(shared_home: Home, sid: str) -> None:
    """While messages are sent to a pane too low to be read, keys go into the pane in which the person types."""
    home, window = shared_home, f"=dev-{sid}:"
    with Person(home, 80, 24) as person:
        person.types(f"tmux -S {record(home, sid)['tmuxSocket']} attach -t =dev-{sid}", "Enter")
        assert poll(lambda: size_of(home, sid) == "80x23" or None, Deadline(30), 0.05)
        ok(home.tmux("split-window", "-v", "-t", window, "cat"))
        other = ok(home.tmux("display-message", "-p", "-t", window, "#{pane_id}")).strip()
        keys = "while :; do tmux -L person send-keys -t person x Enter; sleep 0.1; done"
        typing = home.popen("sh", "-c", keys)
        try:
            for number in range(4):
                assert ok(home.cli("ask", sid, f"say {number}")) == f"{number}\n"
        finally:
            typing.kill()
            typing.wait()
        assert ok(home.tmux("capture-pane", "-p", "-t", other)).count("x\n") > 4
        ok(home.tmux("kill-pane", "-t", other))
    said = [turn["text"].strip() for turn in json.loads(ok(home.cli("logs", sid, "--json"))) if turn["role"] == "human"]
    assert said[-4:] == [f"say {number}" for number in range(4)]
