"""A tmux that is newer or older than the running server, as after an update or on another PATH.

Only `tests/run --tmux` installs other versions. A client of 3.3a or 3.5a gets no answer from a server of 3.7c or 3.8,
and says "server exited unexpectedly" while that server runs on; the other pairs of these versions work.
"""

from __future__ import annotations

import os
from subprocess import CompletedProcess

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import create, ok, record, records
from tests.support.home import Home
from tests.support.tmux_versions import installed

pytestmark = pytest.mark.forked

OTHERS = list(installed())


@pytest.mark.skipif(len(OTHERS) < 2, reason="no other versions of tmux are installed: tests/run --tmux")
@pytest.mark.parametrize("version", OTHERS[:1] + OTHERS[-1:] if OTHERS else [""])
def test_a_session_outlives_a_tmux_that_its_server_does_not_understand(home: Home, version: str) -> None:
    """With a tmux of another version a session is served as usual, or each command fails with one line that quotes
    tmux and changes nothing; it is neither lost nor forgotten."""
    other = {"PATH": os.pathsep.join([str(installed()[version].parent), home.env["PATH"]])}
    sid = create(home, "claude")
    ok(home.cli("ask", sid, "say before"))
    server_is_understood = home.run("tmux", "has-session", "-t", f"=dev-{sid}", env=other).returncode == 0

    def has_worked(done: CompletedProcess[str]) -> bool:
        if server_is_understood:
            ok(done)
            return True
        assert (done.returncode, done.stdout) == (1, "")
        assert "server exited unexpectedly" in done.stderr
        assert done.stderr.count("\n") == 1
        return False

    for command in (["list"], ["list", "--all"]):
        assert " idle " in ok(home.cli(*command, env=other))
    assert ok(home.cli("recover", env=other)) == "No lost sessions\n"
    before = set(home.leftovers())
    if not has_worked(home.cli("create", "-q", cwd=home.workspace(), env=other)):
        # The server's own children of a moment are no leftovers.
        assert poll(lambda: set(home.leftovers()) <= before or None, Deadline(30))
        assert set(records(home)) == {sid}
    has_worked(home.cli("ask", sid, "say other", env=other))
    pid = record(home, sid)["claudePid"]
    if not has_worked(home.cli("kill", sid, env=other)):
        assert ok(home.cli("status", sid, env=other)) == "idle\n"
        assert ok(home.cli("ask", sid, "say after")) == "after\n"
        ok(home.cli("kill", sid))
    assert pid not in home.leftovers()
