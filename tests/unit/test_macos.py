"""What differs on macOS, by its `ps` and its sockets as far as Linux can simulate them (`tests/support/darwin`)."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.darwin import is_simulated, simulation

pytestmark = pytest.mark.skipif(sys.platform == "darwin" and not is_simulated(), reason="simulates macOS on Linux")


def on_macos(code: str, **variables: str) -> str:
    """Run Python code as on macOS, and return what it prints."""
    environment = {**os.environ, **simulation(os.environ), **variables}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_a_process_is_the_same_in_every_locale_and_time_zone() -> None:
    """A session is not lost because a command runs with another language or in another time zone."""
    code = f"from dev_sessions.system.process import start_time; print(start_time({os.getpid()}))"
    expected = on_macos(code)
    assert expected.isdecimal()
    for variables in ({"TZ": "Asia/Tokyo"}, {"LC_ALL": "de_DE.UTF-8"}, {"LANG": "fr_FR", "TZ": "America/New_York"}):
        assert on_macos(code, **variables) == expected


def test_the_start_time_in_a_session_file_is_compared() -> None:
    """A session file that Claude left does not count for another process that has its pid now."""
    code = """
        import json, os, pathlib, subprocess, sys, tempfile
        from dev_sessions.claude import session_file
        folder = pathlib.Path(tempfile.mkdtemp())
        (folder / "sessions").mkdir()
        environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
        ps = ["ps", "-o", "lstart=", "-p", str(os.getpid())]
        own = subprocess.run(ps, env=environment, capture_output=True, text=True).stdout.strip()
        for started in (own, "Sun Nov 29 05:11:09 2020"):
            record = {"pid": os.getpid(), "sessionId": "x", "procStart": started, "status": "idle"}
            (folder / "sessions" / f"{os.getpid()}.json").write_text(json.dumps(record))
            print(session_file.read(folder, os.getpid()) is not None)
    """
    assert on_macos(code).split() == ["True", "False"]


def test_the_start_times_that_claudes_daemon_writes_are_compared(tmp_path: Path) -> None:
    """A session whose terminal shows its background job works, and a job whose process has ended is stopped."""
    code = f"""
        import json, os, pathlib, subprocess
        from dev_sessions.claude import background, session_file
        from dev_sessions.models import ClaudeSession
        home = pathlib.Path({str(tmp_path)!r})
        folder = home / ".claude"
        environment = {{**os.environ, "LC_ALL": "C", "TZ": "UTC"}}

        def started(pid):
            ps = ["ps", "-o", "lstart=", "-p", str(pid)]
            return subprocess.run(ps, env=environment, capture_output=True, text=True).stdout.strip()

        def write(name, record):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(json.dumps(record))

        viewer, worker = os.getppid(), os.getpid()
        of_viewer, of_worker = ({{"pid": pid, "procStart": started(pid)}} for pid in (viewer, worker))
        write(f"sessions/{{viewer}}.json", {{**of_viewer, "sessionId": "x", "status": "idle", "parkedJobId": "j"}})
        write(f"sessions/{{worker}}.json", {{**of_worker, "sessionId": "x", "status": "busy", "jobId": "j"}})
        write("daemon/attach-journal/1.json", {{**of_viewer, "interactiveReached": True}})
        write("jobs/j/state.json", {{"state": "working"}})
        common = dict(id="fizz-top", internal_id="x", path="/", created_at="", last_used="", claude_pid=viewer)
        session = ClaudeSession(**common)
        found = session_file.read(folder, viewer)
        print(background.foreground_state(session, found).status)

        job = background.find(session, found)
        (folder / "sessions" / f"{{worker}}.json").unlink()
        write("daemon/roster.json", {{"workers": {{"j": {{"pid": worker, "procStart": "Sun Nov 29 05:11:09 2020"}}}}}})
        background.stop_job(session, job)
        print("stopped")
    """
    program = tmp_path / "bin" / "claude"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = simulation({"PATH": f"{program.parent}:{os.environ['PATH']}"})["PATH"]
    assert on_macos(code, HOME=str(tmp_path), PATH=path).split() == ["busy", "stopped"]


def test_a_command_with_line_breaks_and_umlauts_is_read(tmp_path: Path) -> None:
    """Processes are found and told apart whatever their arguments contain."""
    words = ["sh", "-c", "sleep 20 # zwölf\n4711 1 4711 S two\n", str(tmp_path)]
    with subprocess.Popen(words) as child:
        code = f"""
            from dev_sessions.system.process import command_line
            from dev_sessions.sessions.process_tree import _processes
            print("zwölf" in command_line({child.pid}), _processes()[{child.pid}].parent == {os.getpid()})
        """
        assert on_macos(code) == "True True"
        child.kill()


def test_a_wait_does_not_start_ps_all_the_time() -> None:
    """Whether a process is alive is asked many times a second, and `ps` once."""
    code = f"""
        from dev_sessions.system import process
        started, ps = [], process.ps
        process.ps = lambda *arguments: (started.append(arguments), ps(*arguments))[1]
        for _ in range(50):
            assert process.is_alive({os.getpid()})
        print(len(started))
    """
    assert on_macos(code) == "1"


def test_a_list_of_many_sessions_starts_ps_twice() -> None:
    """However many processes a command looks up, `ps` is started for the first one, and then for all others."""
    code = """
        import subprocess
        from dev_sessions.system import process
        started, ps = [], process.ps
        process.ps = lambda *arguments: (started.append(arguments), ps(*arguments))[1]
        process.PS_INTERVAL = 60
        children = [subprocess.Popen(["sleep", "20"]) for _ in range(5)]
        assert len({process.identify(child.pid) for child in children}) == 5
        print(len(started))
        for child in children:
            child.kill()
            child.wait()
            assert not process.is_alive(child.pid)
    """
    assert on_macos(code) == "2"


def test_no_command_gets_the_answer_of_ps_that_another_one_got() -> None:
    """A process that a request to the gateway found running, and that has exited since, is gone for the next one."""
    code = """
        import os, subprocess, threading
        from dev_sessions.system import process
        child = subprocess.Popen(["sleep", "20"])

        def request():
            thread = threading.Thread(target=lambda: print(process.is_alive(child.pid)))
            thread.start()
            thread.join()

        request()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # nobody has reaped it
        request()
        child.wait()
    """
    assert on_macos(code).split() == ["True", "False"]


def test_a_group_of_exited_processes_is_ended() -> None:
    """Ending a process whose group has only exited processes left is no error."""
    code = """
        import os, subprocess
        from dev_sessions.system import process
        child = subprocess.Popen(["sleep", "20"], start_new_session=True)
        identity = process.identify(child.pid)
        kill = os.killpg
        def killpg(group, number):
            kill(group, number)
            child.wait()
            raise PermissionError(1, "Operation not permitted")
        os.killpg = killpg
        print(process.terminate(identity, group=True))
    """
    assert on_macos(code) == "True"


def test_a_busy_server_is_not_taken_for_an_ended_one(tmp_path: Path) -> None:
    """An app-server or gateway whose backlog is full, which BSD refuses as it does when nobody listens, is left alone;
    what a dead one has left is no obstacle."""
    code = f"""
        import os, pathlib, socket, threading
        from dev_sessions.codex import app_server
        from dev_sessions.errors import DevSessionsError
        from dev_sessions.gateway.listener import remove_stale_socket
        from dev_sessions.system import file_locks
        from dev_sessions.system.private_files import replace_file
        app_server.CLOSE_TIMEOUT = 0.2
        folder = pathlib.Path({str(tmp_path)!r}) / "d"
        folder.mkdir(mode=0o700)
        path = folder / "app-server.sock"

        def attempt(what):
            try:
                with what() as found:
                    print(found)
            except DevSessionsError as error:
                print(str(error).partition(";")[0])

        def stale():
            remove_stale_socket(path)
            raise DevSessionsError(f"removed {{not path.exists()}}")

        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen(0)
        waiting = [socket.socket(socket.AF_UNIX)]
        waiting[0].connect(str(path))
        lock = file_locks.new_locked(folder / "alive.lock")
        attempt(app_server.AppServer(folder).connect_if_running)
        threading.Timer(0.2, listening.accept).start()
        attempt(stale)
        listening.close()
        os.close(lock)
        attempt(app_server.AppServer(folder).connect_if_running)
        attempt(stale)
    """
    first, second, third, fourth = on_macos(code, HOME=str(tmp_path)).splitlines()
    assert first.endswith("closes every connection")
    assert "already listens" in second
    assert (third, fourth) == ("None", "removed True")
