"""Sessions in a terminal that a person uses, who scrolls, types into several panes at once or has a small screen."""

from __future__ import annotations

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import create, ok, records
from tests.support.home import Home

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


@pytest.mark.parametrize(("mode", "keys"), [*((mode, "emacs") for mode in MODES), ("copy", "vi")])
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
    ok(home.cli("interrupt", sid))
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
    ok(home.cli("interrupt", sid))
    assert home.cli("wait", sid).returncode == 1
    shown = ok(home.tmux("capture-pane", "-p", "-t", other))
    assert shown.strip() == ""
    ok(home.tmux("kill-pane", "-t", other))
