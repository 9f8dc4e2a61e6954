"""tmux that a person rearranged, that has lost its socket, or that speaks in other words."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.version import parse_version
from tests.support.cli import create, ok, record, records
from tests.support.home import Home
from tests.support.original import create_ready_original

pytestmark = pytest.mark.forked

#: A tmux that says everything that goes wrong in words of its own.
REWORDED = '#!/bin/sh\n"%s" "$@" 2>/dev/null || { code=$?; echo "das geht gerade nicht" >&2; exit $code; }\n'


def panes(home: Home, *where: str) -> list[str]:
    """Return the ids of panes."""
    return ok(home.tmux("list-panes", *where, "-F", "#{pane_id}")).split()


def test_a_session_that_a_person_rearranged_is_still_served(home: Home) -> None:
    """After a person has renamed, split or moved the window, messages go to Claude alone, and kill ends it."""
    sid = create(home, "claude")
    claude = record(home, sid)["tmuxPane"]
    pid = record(home, sid)["claudePid"]
    ok(home.cli("ask", sid, "say first"))
    ok(home.tmux("split-window", "-h", "-t", claude, "cat"))
    (cat,) = (pane for pane in panes(home, "-s", "-t", f"=dev-{sid}:") if pane != claude)
    assert ok(home.cli("ask", sid, "say split")) == "split\n"
    ok(home.tmux("swap-pane", "-s", claude, "-t", cat))
    assert ok(home.cli("ask", sid, "say swapped")) == "swapped\n"
    ok(home.tmux("rename-session", "-t", f"=dev-{sid}", "mine"))
    assert ok(home.cli("ask", sid, "say renamed")) == "renamed\n"
    assert ok(home.cli("status", sid)) == "idle\n"
    assert set(records(home)) == {sid}
    assert ok(home.tmux("capture-pane", "-p", "-t", cat)).strip() == "", "nothing went into the person's pane"
    ok(home.tmux("kill-pane", "-t", cat))
    assert ok(home.cli("ask", sid, "say alone")) == "alone\n"
    ok(home.tmux("new-session", "-d", "-s", "other", "-x", "200", "-y", "50", "cat"))
    ok(home.tmux("join-pane", "-s", claude, "-t", "=other:"))
    assert ok(home.cli("ask", sid, "say moved")) == "moved\n"
    ok(home.tmux("break-pane", "-d", "-s", claude))
    assert ok(home.cli("ask", sid, "say broken out")) == "broken out\n"
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert pid not in home.leftovers()
    ok(home.tmux("has-session", "-t", "=other"))


def test_words_of_tmux_that_are_not_known_are_no_death(home: Home) -> None:
    """Errors of tmux in unknown words are quoted, and do not make a session lost or forgotten."""
    sid = create(home, "claude")
    ok(home.cli("ask", sid, "say before"))
    broken = home.workspace("reworded") / "tmux"
    broken.write_text(REWORDED % shutil.which("tmux", path=home.env["PATH"]))
    broken.chmod(0o755)
    env = {"PATH": f"{broken.parent}{os.pathsep}{home.env['PATH']}"}
    assert ok(home.cli("ask", sid, "say reworded", env=env)) == "reworded\n"
    # The server can't be reached, and does not say so in words that are known.
    broken.write_text("#!/bin/sh\necho das geht gerade nicht >&2\nexit 1\n")
    for command in (["send", sid, "say lost"], ["kill", sid]):
        done = home.cli(*command, env=env)
        assert (done.returncode, done.stdout) == (1, "")
        assert "tmux printed" in done.stderr
        assert "'das geht gerade nicht'" in done.stderr
        assert "lost" not in done.stderr
    assert ok(home.cli("status", sid, env=env)) == "idle\n"
    assert ok(home.cli("last-message", sid, env=env)) == "reworded\n"
    assert ok(home.cli("wait", sid, env=env)) == "completed\n"
    listed = home.cli("list", "--all", env=env)
    assert (listed.returncode, " idle " in listed.stdout) == (0, True)
    assert home.cli("doctor", env=env).returncode in (0, 1)
    assert ok(home.cli("ask", sid, "say after")) == "after\n"


def test_a_tmux_server_that_has_lost_its_socket(home: Home) -> None:
    """If tmux's socket directory was removed, the conversation can be read, and send says how to restore the socket,
    which works; a directory that somebody else made there meanwhile changes nothing."""
    sid = create(home, "claude")
    ok(home.cli("ask", sid, "say before"))
    socket = Path(record(home, sid)["tmuxSocket"])
    server = int(ok(home.tmux("display-message", "-p", "#{pid}")))
    shutil.rmtree(socket.parent)
    assert ok(home.cli("status", sid)) == "idle\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "before\n"
    assert set(records(home)) == {sid}
    done = home.cli("send", sid, "say lost")
    assert (done.returncode, done.stdout) == (1, "")
    repair = f"mkdir -m 700 {socket.parent} && kill -USR1 {server}"
    assert done.stderr.endswith(f"recreate it with: {repair}\n")
    socket.parent.mkdir()
    assert home.run("sh", "-c", repair).returncode != 0
    socket.parent.rmdir()
    ok(home.run("sh", "-c", repair))
    assert poll(lambda: socket.exists() or None, Deadline(30))
    assert ok(home.cli("ask", sid, "say after")) == "after\n"


def test_a_kill_without_the_socket_of_tmux(home: Home) -> None:
    """If tmux's socket or its directory was removed, kill ends Claude and says how to end the empty tmux session; once
    tmux is reachable again, doctor names it, too. Other sessions are left alone."""
    sids = [create(home, "claude") for _ in range(3)]
    found = {sid: record(home, sid) for sid in sids}
    socket = Path(found[sids[0]]["tmuxSocket"])
    ok(home.tmux("new-session", "-d", "-s", "dev-mine", "sleep", "1000"))
    for sid in sids[:2]:
        if sid == sids[0]:
            socket.unlink()
        else:
            shutil.rmtree(socket.parent)
        killed = home.cli("kill", sid)
        assert (killed.returncode, killed.stdout) == (0, f"Killed session {sid}\n")
        assert found[sid]["claudePid"] not in home.leftovers()
        assert sid not in records(home, "--all")
        done = home.cli("kill", sid)
        assert (done.returncode, done.stderr) == (1, f"Session not found: {sid} (see: dev-sessions list)\n")
        mend, _, again = killed.stderr.partition("end it with: ")[2].rpartition(" && ")
        ok(home.run("bash", "-c", mend))
        assert poll(lambda: socket.exists() or None, Deadline(30))
        checks = home.cli("doctor").stdout
        assert (
            f"started by dev-sessions, without a record: dev-{sid}; end the first with: dev-sessions kill {sid}"
            in checks
        )
        assert "named like sessions, without a record: dev-mine; inspect the first with: tmux -S" in checks
        assert ok(home.run("bash", "-c", again)) == f"Killed session {sid}\n"
    assert home.cli("kill", "mine").stderr == "Session not found: mine (see: dev-sessions list)\n"
    assert ok(home.tmux("list-sessions", "-F", "#S")).split() == sorted(["dev-mine", f"dev-{sids[2]}"])
    assert ok(home.cli("status", sids[2])) == "idle\n"
    ok(home.cli("kill", sids[2]))


def test_sessions_whose_records_are_gone_can_be_killed_by_their_names(home: Home) -> None:
    """After the store was moved away, doctor names the sessions that run, and kill ends each by its name without
    leftovers."""
    sid = create(home, "claude")
    pid = record(home, sid)["claudePid"]
    (home.path / ".dev-sessions" / "sessions.json").unlink()
    assert f"end the first with: dev-sessions kill {sid}" in home.cli("doctor").stdout
    ok(home.cli("list"))
    assert pid in home.leftovers()
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert home.leftovers() == {}
    assert records(home, "--all") == {}


def test_kill_ends_no_other_session(home: Home) -> None:
    """kill leaves a session alone whose window was linked, swapped or renamed into the place of the ended one's, and
    closes its own pane where another tmux session shows it."""
    kept = create(home, "claude")
    first, second, third = (create(home, "claude") for _ in range(3))
    ok(home.tmux("link-window", "-s", f"=dev-{kept}:", "-t", f"=dev-{first}:5"))
    ok(home.tmux("new-session", "-d", "-t", f"=dev-{first}", "-s", "view"))
    ok(home.cli("kill", first))
    assert ok(home.cli("ask", kept, "say linked")) == "linked\n"
    assert panes(home, "-s", "-t", "=view:") == [record(home, kept)["tmuxPane"]], "of the ended one nothing is shown"
    ok(home.tmux("kill-session", "-t", "=view"))
    ok(home.tmux("swap-pane", "-s", f"=dev-{kept}:", "-t", f"=dev-{second}:"))
    ok(home.cli("kill", second))
    assert ok(home.cli("ask", kept, "say swapped")) == "swapped\n"
    ok(home.tmux("rename-session", "-t", f"=dev-{second}", "between"))
    ok(home.tmux("rename-session", "-t", f"=dev-{third}", f"dev-{second}"))
    ok(home.tmux("rename-session", "-t", "=between", f"dev-{third}"))
    ok(home.cli("kill", third))
    assert ok(home.cli("ask", kept, "say renamed")) == "renamed\n"
    ok(home.cli("kill", kept))
    assert poll(lambda: home.tmux("list-sessions").returncode or None, Deadline(30), 0.05), "none is left"


def test_kill_spares_what_version_0_4_started(home: Home) -> None:
    """kill leaves a session of version 0.4 alone whose pane a person has brought into the ended one's window, whichever
    version started that one, and ends one of version 0.4 itself."""
    kept = create_ready_original(home, "zed-mid")
    (kept_pane,) = panes(home, "-a")
    for version in ("this", "0.4"):
        sid = create(home, "claude") if version == "this" else create_ready_original(home, "ahri-mid")
        ok(home.tmux("link-window", "-s", f"=dev-{kept}:", "-t", f"=dev-{sid}:5"))
        assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
        assert ok(home.cli("ask", kept, "say linked")) == "linked\n"
        assert panes(home, "-a") == [kept_pane] * 2, "its own and the link to it"
        ok(home.tmux("kill-session", "-t", f"=dev-{sid}"))
    ok(home.cli("kill", kept))
    assert poll(lambda: home.tmux("list-sessions").returncode or None, Deadline(30), 0.05), "none is left"


def test_no_window_is_opened_that_would_crash_the_server(home: Home) -> None:
    """With a tmux option that crashes its server, create and recover say which, and the sessions there go on."""
    if parse_version(ok(home.run("tmux", "-V"))) >= (3, 8):
        pytest.skip("this tmux does not crash")
    sid, lost = create(home, "claude"), create(home, "claude")
    ok(home.cli("ask", lost, "say hello"))
    ok(home.tmux("kill-session", "-t", f"=dev-{lost}"))
    assert poll(lambda: home.cli("status", lost).returncode or None, Deadline(30), 0.1)
    server = ok(home.tmux("display-message", "-p", "#{pid}"))
    ok(home.tmux("set-option", "-g", "-w", "window-size", "manual"))
    for command in (["create"], ["recover", lost, "--yes"]):
        done = home.cli(*command, cwd=home.workspace())
        assert (done.returncode, done.stdout) == (1, "")
        assert "tmux set-option -gw window-size latest" in done.stderr
    assert ok(home.tmux("display-message", "-p", "#{pid}")) == server
    assert ok(home.cli("ask", sid, "say here")) == "here\n"
