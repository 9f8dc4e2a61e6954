"""Sessions on a tmux server with the configurations and the locales that users have."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import READY_AT_ONCE, fake_claude
from tests.support.cli import assert_refused, create, ok, outcome, record, records, stored_records
from tests.support.home import Home

pytestmark = pytest.mark.forked

#: Commands of tmux that a user has redefined; the tests need the others.
REDEFINED = (
    *("new-session", "new-window", "has-session", "display-message", "capture-pane", "set-option", "show-options"),
    *("load-buffer", "paste-buffer", "delete-buffer", "send-keys", "if-shell", "copy-mode", "kill-session"),
    *("kill-pane", "resize-window"),
)
#: Configurations under which everything works.
HARMLESS: Mapping[str, Sequence[str]] = {
    "unattached": ["set -g destroy-unattached on"],
    "indices": ["set -g base-index 1", "set -gw pane-base-index 1", "set -g renumber-windows on"],
    "after-new-session splits": ["set-hook -g after-new-session 'split-window'"],
    "session-created splits": ["set-hook -g session-created 'split-window -h'"],
    "session-created opens": ["set-hook -g session-created 'new-window'"],
    "after-new-session renames": ["set-hook -g after-new-session 'rename-session mine'"],
    "session-created renames": ["set-hook -g session-created 'rename-session mine ; rename-window mine'"],
    "plugin restores sessions": [
        "new-session -d -s dev-xyz-top cat",
        "set-hook -g session-created 'new -d -s dev-a cat'",
    ],
    "dead panes stay": ["set -gw remain-on-exit on"],
    "commands": ["set -g default-command 'exec false'"],
    "missing shell": ["set -g default-shell /usr/bin/no-such-shell"],
    "shell is no shell": ["set -g default-shell /bin/false"],
    "unknown option": ["set -g no-such-option on"],
    "no syntax": ["set -g 'foo"],
    "history": ["set -g history-limit 100000000"],
    "no history": ["set -g history-limit 0"],
    "largest": ["set -g window-size largest", "set -g default-size 10x5"],
    "smallest": ["set -g window-size smallest", "set -g default-size 10x5"],
    "keys and aliases": [
        *("set -g mouse on", "set -g prefix none", "set -s escape-time 5000", "set -g mode-keys vi"),
        *(f"set -s command-alias[{n}] '{name}=list-keys -N'" for n, name in enumerate(REDEFINED, 100)),
    ],
    "looks": ["set -g status off", "set -g set-titles on", "set -g monitor-activity on", "set -gw automatic-rename on"],
    "detach": ["set -g detach-on-destroy off", "set -s exit-empty off"],
    "environment": ["set -g update-environment FOO", "setenv -g PATH /nowhere", "setenv -g HOME /nowhere"],
    "buffers": ["set -s buffer-limit 1", "set -s message-limit 0"],
}
#: Settings that do not affect each other; the ordinary suite has them in one configuration.
INDEPENDENT = ("indices", "commands", "smallest", "keys and aliases", "looks", "detach", "environment", "buffers")
#: What could hide another setting, which the ordinary suite tries alone.
ALONE = (
    *("unattached", "after-new-session splits", "session-created renames", "plugin restores sessions"),
    *("dead panes stay", "missing shell", "no syntax"),
)
#: Shells that do not understand what sh does, in which a person's own panes run.
SHELLS = {shell: shutil.which(shell) for shell in ("fish", "nu")}
#: Those that could change how a real Claude is typed to or read.
REAL = ("after-new-session splits", "smallest", "keys and aliases")
MORE_REAL = ("session-created renames", "missing shell", "environment")
CLOSED = "tmux closed the session while it started: a hook"
#: Configurations under which no session can live: what create says, and the sign and the words of doctor.
HARMFUL: Mapping[str, tuple[str, str, str, str]] = {
    "set -s exit-unattached on": (
        "tmux set-option -s exit-unattached off",
        CLOSED,
        "✗",
        "exit-unattached ends the server",
    ),
    "set-hook -g after-new-session kill-session": (CLOSED, CLOSED, "!", "the hook after-new-session runs kill-session"),
    "set-hook -g session-created 'kill-server'": (CLOSED, CLOSED, "!", "the hook session-created runs kill-server"),
}


def is_tmux(line: str) -> bool:
    """Return whether this is the command line of a tmux."""
    return line.startswith("tmux ")


def configure(home: Home, lines: Sequence[str]) -> None:
    """Write a home's tmux.conf, which its tmux server reads when it starts, and that is after the last session."""
    home.tmux("kill-server")
    # It answers before it has exited, and what asks it then may be told that it exits.
    assert poll(lambda: None if any(map(is_tmux, home.leftovers().values())) else True, Deadline(30), 0.02)
    (home.path / ".tmux.conf").write_text("\n".join(lines) + "\n")


def lose(home: Home, sid: str) -> None:
    """Kill a session's agent, and wait until the session is lost."""
    os.kill(record(home, sid)["claudePid"], signal.SIGKILL)
    assert poll(lambda: home.cli("status", sid).returncode or None, Deadline(30), 0.02)


def assert_ended(home: Home, sid: str, agent: int) -> None:
    """Assert that nothing of a session is left, in no tmux session."""
    assert agent not in home.leftovers()
    assert sid not in home.tmux("list-panes", "-a", "-F", "#{session_name} #{pane_start_command}").stdout
    assert records(home, "--all") == {}


@pytest.mark.parametrize("limit", ["100000000", "0"])
@pytest.mark.parametrize("is_first", [True, False])
def test_the_history_of_a_session_is_bounded(shared_home: Home, limit: str, is_first: bool) -> None:
    """A session never keeps more than 10,000 lines, whatever the user's history-limit, and no other window is left."""
    home = shared_home
    configure(home, [f"set -g history-limit {limit}", "set -g base-index 3"])
    home.env.update(fake_claude(home, READY_AT_ONCE))
    if not is_first:
        # The server before may still be about to exit.
        assert poll(lambda: home.tmux("new-session", "-d", "-s", "other", "cat").returncode == 0 or None, Deadline(30))
    sid = create(home, "claude")
    shown = "#{history_limit} #{window_index} #{window_width}x#{window_height}"
    printed = ok(home.tmux("list-panes", "-s", "-t", f"=dev-{sid}:", "-F", shown))
    # The first session of a server has the bound itself, as the user's limit is not known before it starts.
    expected = "0" if limit == "0" and not is_first else "10000"
    assert printed == f"{expected} 3 200x50\n"
    ok(home.cli("kill", sid))


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(INDEPENDENT, id="many at once"),
        *(pytest.param([name], id=name) for name in ALONE),
        *(
            pytest.param([name], id=name, marks=pytest.mark.matrix)
            for name in (*HARMLESS, *SHELLS)
            if name not in ALONE
        ),
    ],
)
def test_a_session_lives_under_any_configuration(shared_home: Home, names: Sequence[str]) -> None:
    """A session is created, listed, lost, recovered and killed as usual, and leaves nothing."""
    home = shared_home
    lines: list[str] = []
    for name in names:
        if name in SHELLS:
            if SHELLS[name] is None:
                pytest.skip(f"{name} is not installed")
            lines += [f"set -g default-shell {SHELLS[name]}", *HARMLESS["after-new-session splits"]]
        else:
            lines += HARMLESS[name]
    configure(home, lines)
    home.env.update(fake_claude(home, READY_AT_ONCE))
    sid = create(home, "claude")
    assert ok(home.cli("status", sid)) == "idle\n"
    lose(home, sid)
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    assert ok(home.cli("status", sid)) == "idle\n"
    # A person renames it.
    ok(home.tmux("rename-session", "-t", record(home, sid)["tmuxPane"], "renamed"))
    assert set(records(home)) == {sid}
    lose(home, sid)
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    agent = record(home, sid)["claudePid"]
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert_ended(home, sid, agent)
    home.tmux("kill-server")


@pytest.mark.parametrize("line", HARMFUL)
def test_a_configuration_that_ends_sessions_is_named(home: Home, line: str) -> None:
    """create says in one line what to change and leaves nothing; doctor names it, and starts nothing that stays."""
    configure(home, [line])
    home.env.update(fake_claude(home, READY_AT_ONCE.replace("mkdir", "sleep 1\nmkdir")))
    said, otherwise, sign, found = HARMFUL[line]
    done = home.cli("create", "-q", cwd=home.workspace())
    assert_refused(done, said if said in done.stderr else otherwise)
    assert poll(lambda: home.leftovers() == {} or None, Deadline(30), 0.05)
    assert records(home, "--all") == {}
    (named,) = [row for row in home.cli("doctor").stdout.splitlines() if " tmux configuration " in row]
    assert (named[0], found in named, "remove it from your tmux.conf" in named) == (sign, True, True)
    assert poll(lambda: home.leftovers() == {} or None, Deadline(30), 0.05), home.leftovers()


@pytest.mark.parametrize("delay", [0, 0.005, 0.01, 0.02, 0.05])
def test_a_server_that_ends_while_a_session_starts_is_named(home: Home, delay: float) -> None:
    """create says that tmux closed the session, at whatever command the server exits."""
    configure(home, [f"set-hook -g after-new-session 'run-shell -b \"sleep {delay}; tmux kill-server\"'"])
    home.env.update(fake_claude(home, READY_AT_ONCE.replace("mkdir", "sleep 1\nmkdir")))
    for _ in range(3):
        assert_refused(home.cli("create", "-q", cwd=home.workspace()), CLOSED)
    assert poll(lambda: home.leftovers() == {} or None, Deadline(30), 0.05), home.leftovers()
    assert records(home, "--all") == {}


def test_an_option_that_crashes_tmux_is_named(home: Home) -> None:
    """With window-size manual, create works where tmux can do that, and otherwise points to doctor, which names it."""
    configure(home, ["set -g window-size manual"])
    home.env.update(fake_claude(home, READY_AT_ONCE))
    done = home.cli("create", "-q", cwd=home.workspace())
    if done.returncode != 0:
        assert_refused(done, "an option in its configuration may do that")
        assert poll(lambda: home.leftovers() == {} or None, Deadline(30), 0.05)
        assert records(home, "--all") == {}
    assert "window-size manual crashes tmux" in home.cli("doctor").stdout


def test_doctor_reads_the_configuration_of_tmux(home: Home) -> None:
    """doctor names errors in the user's file, and what the running server was told; it changes nothing there."""

    def rows() -> list[str]:
        done = home.cli("doctor")
        return [
            row.partition(" tmux configuration ")[2].strip()
            for row in done.stdout.splitlines()
            if " tmux configuration " in row
        ]

    assert rows() == ["nothing harmful: none"]
    configure(home, ["set -g mouse on", "set -g no-such-option on", "bind x kill-session", "set -g @x kill-session"])
    assert rows() == [f"'invalid option: no-such-option' in {home.path / '.tmux.conf'}; correct or remove that line"]
    configure(home, ["set -g mouse on"])
    assert rows() == [f"nothing harmful: {home.path / '.tmux.conf'}"]
    hooks = ("after-list-panes 'if-shell true \"display -p x\"'", "after-send-keys 'display-message x'")
    configure(home, [f"set-hook -g {hook}" for hook in (*hooks, "session-created 'display-message -p x'")])
    (row,) = rows()
    assert row.startswith("what the hook after-list-panes prints with display -p becomes a part of tmux's answers")
    assert row.endswith("tmux set-hook -g -u after-list-panes")
    configure(home, ["set -g mouse on"])
    ok(home.tmux("new-session", "-d", "-s", "mine", "cat"))
    assert rows() == ["nothing harmful: the running server"]
    ok(
        home.tmux(
            "set-option", "-g", "destroy-unattached", "on", ";", "set-option", "-t", "mine", "destroy-unattached", "off"
        )
    )
    assert [row.partition(" ")[0] for row in rows()] == ["destroy-unattached"]
    assert ok(home.tmux("list-sessions", "-F", "#S")) == "mine\n"


def test_a_hook_that_prints_is_named(home: Home) -> None:
    """While a hook prints into tmux's answers, nothing is taken for gone, and the error says how to find the hook."""
    configure(home, [])
    home.env.update(fake_claude(home, READY_AT_ONCE))
    sid = create(home, "claude")
    for command in ("list-panes", "display-message"):
        ok(home.tmux("set-hook", "-g", f"after-{command}", "display-message -p printed"))
    assert_refused(home.cli("kill", sid), "tmux printed 'printed'; try again, and see whether a hook")
    assert set(records(home)) == {sid}
    for command in ("list-panes", "display-message"):
        ok(home.tmux("set-hook", "-g", "-u", f"after-{command}"))
    ok(home.cli("kill", sid))
    assert records(home, "--all") == {}


@pytest.mark.parametrize(
    "name",
    [
        *("it's $HOME; #{pid}, \\060 ☃", "a\u2028b"),
        *(
            pytest.param(name, marks=pytest.mark.matrix)
            for name in ("back\\slash", "\\060", "it's $HOME;", "#{pid}, ☃")
        ),
    ],
)
def test_a_socket_may_have_any_path(home: Home, name: str) -> None:
    """Whatever the directory of the tmux server is called, kill leaves nothing there; or create says what to change."""
    configure(home, [])
    home.env.update(fake_claude(home, READY_AT_ONCE))
    home.env["TMUX_TMPDIR"] = str(home.workspace(name))
    for _ in range(2):
        sid = create(home, "claude")
        lose(home, sid)
        assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
        agent = record(home, sid)["claudePid"]
        assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
        assert agent not in home.leftovers()
        assert f"dev-{sid}" not in home.tmux("list-sessions").stdout
        home.tmux("new-session", "-d", "-s", "mine", "cat")
    home.tmux("kill-server")
    for control in ("\t", "\n", "\r", "\x0b", "\x85"):
        home.env["TMUX_TMPDIR"] = str(home.workspace(f"{name}{control}"))
        done = home.cli("create", "-q", cwd=home.workspace())
        assert_refused(done, "has a control character or no UTF-8 in its path; set TMUX_TMPDIR to another directory")
        assert stored_records(home) == {}
    home.env["TMUX_TMPDIR"] = str(home.workspace(name + 90 * "x"))
    done = home.cli("create", "-q", cwd=home.workspace())
    assert_refused(done, " is too long for one; set TMUX_TMPDIR to another directory")
    assert stored_records(home) == {}
    assert outcome(home.cli("list")) == (0, "No active sessions\n", "")


def test_the_locale_changes_nothing(home: Home, tmp_path: Path) -> None:
    """In the C locale, in none and in one that is not UTF-8, paths, descriptions and messages are the same as ever."""
    home.runner = None  # how Python itself starts is what matters
    folder = home.workspace("größer — ☃ $x")
    locales: list[Mapping[str, str]] = [{"LC_ALL": "C"}, {"LANG": ""}]
    if shutil.which("localedef") is not None:
        (tmp_path / "locales").mkdir()
        home.run("localedef", "-i", "de_DE", "-f", "ISO-8859-1", tmp_path / "locales" / "de_DE.ISO-8859-1")
        locales = [{"LC_ALL": "de_DE.ISO-8859-1", "LOCPATH": str(tmp_path / "locales")}, *locales]
    for number, env in enumerate(locales):
        fake = {} if number == 0 else fake_claude(home, READY_AT_ONCE)
        del home.env["LANG"]
        home.env.update({**env, **fake})
        sid = ok(home.cli("create", "-q", "--description", "naïve ☃", cwd=folder)).strip()
        (found,) = records(home).values()
        assert (found["path"], found["description"]) == (str(folder), "naïve ☃")
        if not fake:
            assert ok(home.cli("ask", sid, "say größer ☃")) == "größer ☃\n"
            assert ok(home.cli("ask", sid, "--file", "-", stdin="say ∞ € é")) == "∞ € é\n"
        lose(home, sid)
        assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
        if not fake:
            assert ok(home.cli("ask", sid, "history")).startswith("1: say größer ☃\n")
        assert f"{folder}  naïve ☃" in ok(home.cli("list"))
        agent = record(home, sid)["claudePid"]
        assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
        assert_ended(home, sid, agent)
        home.env["LANG"] = "C.UTF-8"


def test_an_answer_of_tmux_that_is_not_understood(home: Home) -> None:
    """If tmux has started a session and its answer is not understood, create says so in one line and leaves nothing."""
    home.env.update(fake_claude(home, READY_AT_ONCE))
    unclear = home.workspace("unclear") / "tmux"
    unclear.write_text(f"#!/bin/sh\n'{shutil.which('tmux', path=home.env['PATH'])}' \"$@\" | tr '\\t' _\n")
    unclear.chmod(0o755)
    ok(home.tmux("new-session", "-d", "-s", "mine", "cat"))
    path = f"{unclear.parent}{os.pathsep}{home.env['PATH']}"
    done = home.cli("create", "-q", cwd=home.workspace(), env={"PATH": path})
    assert_refused(done, "tmux could not start a session: it printed ")
    assert ok(home.tmux("list-sessions", "-F", "#S")) == "mine\n"
    assert poll(lambda: "sleep 1000" not in home.leftovers().values() or None, Deadline(30), 0.05)


def test_no_shell_sees_the_agent(home: Home) -> None:
    """Claude is started by tmux itself, whatever the user's shell is: a default-shell that fails is never run."""
    shell = home.workspace() / "shell"
    shell.write_text(f"#!/bin/sh\necho started >> {home.path}/shell-was-run\nexec sleep 1000\n")
    shell.chmod(0o755)
    configure(home, [f"set -g default-shell {shell}", f"set -g default-command {shell}"])
    home.env.update({**fake_claude(home, READY_AT_ONCE), "SHELL": str(shell)})
    sid = create(home, "claude")
    assert not (home.path / "shell-was-run").exists()
    ok(home.tmux("split-window", "-t", f"=dev-{sid}:"))
    assert poll(lambda: (home.path / "shell-was-run").exists() or None, Deadline(30), 0.05), "a person's pane has it"
    ok(home.cli("kill", sid))


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(REAL, id="many at once"),
        *(pytest.param([name], id=name, marks=pytest.mark.matrix) for name in REAL),
        *(pytest.param([name], id=name, marks=pytest.mark.soak) for name in MORE_REAL),
    ],
)
def test_claude_is_served_under_any_configuration(home: Home, names: Sequence[str]) -> None:
    """A real Claude takes messages and answers, and its conversation is recovered."""
    configure(home, [line for name in names for line in HARMLESS[name]])
    sid = create(home, "claude")
    assert ok(home.cli("ask", sid, "say größer ☃")) == "größer ☃\n"
    ok(home.cli("send", sid, "ask Which colour? | red | blue"))
    assert home.cli("wait", sid).returncode == 3
    ok(home.cli("respond", sid, "blue"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    lose(home, sid)
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    assert ok(home.cli("ask", sid, "history")).startswith("1: say größer ☃\n")
    agent = record(home, sid)["claudePid"]
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert_ended(home, sid, agent)
    home.tmux("kill-server")
