"""Service managers for tests: the real systemd of a user where that can be had, and stand-ins that keep a record.

A stand-in does what the real one does with the service file that it is given: it runs the command in the environment
that stands there. It writes its orders into `~/orders`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dev_sessions.system.deadline import Deadline, poll
from tests.support.home import MARK, Home
from tests.support.processes import end_marked

#: Answers like a gateway, says how it was started, and leaves a child that is meant to outlive it.
GATEWAY = f"""\
#!{sys.executable}
import http.server, json, os, subprocess, sys
print(json.dumps({{"argv": sys.argv, "env": dict(os.environ), "cwd": os.getcwd()}}), flush=True)
if os.path.exists(os.path.join(os.environ["HOME"], "broken")):
    sys.exit("no gateway today")
subprocess.Popen(["sleep", "600"], start_new_session=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
        self.wfile.write(b'{{"status": "healthy"}}')
    def log_message(self, *arguments): pass
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""

_STAND_IN = f"""\
#!{sys.executable}
import contextlib, os, pathlib, plistlib, shlex, signal, subprocess, sys, time
from dev_sessions.system.process import is_alive
home = pathlib.Path(os.environ["HOME"])
with open(home / "orders", "a") as orders:
    print(*sys.argv[1:], file=orders)
plist = home / "Library/LaunchAgents/com.dev-sessions.gateway.plist"
unit = home / ".config/systemd/user/dev-sessions-gateway.service"
running = home / "running"

def pid():
    return int(running.read_text()) if running.exists() else None

def start():
    if plist.exists():
        settings = plistlib.loads(plist.read_bytes())
        argv, env, log = settings["ProgramArguments"], settings["EnvironmentVariables"], settings["StandardOutPath"]
    else:
        lines = [line.partition("=")[::2] for line in unit.read_text().replace("%%", "%").splitlines()]
        settings = dict(lines)
        argv, log = shlex.split(settings["ExecStart"][1:]), settings["StandardOutput"].removeprefix("append:")
        env = dict(shlex.split(text)[0].split("=", 1) for name, text in lines if name == "Environment")
    with open(log, "a") as stream:
        child = subprocess.Popen(argv, env={{**os.environ, **env}}, cwd="/", stdout=stream, stderr=stream, umask=0o077)
    running.write_text(str(child.pid))

def stop():
    if pid() is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid(), signal.SIGTERM)
            while is_alive(pid()):
                time.sleep(0.02)
        running.unlink()
"""

_LAUNCHCTL = """
match sys.argv[1:]:
    case ["bootstrap", *_]: start()
    case ["bootout", *_]:
        if pid() is None: sys.exit("Boot-out failed: 3: No such process")
        stop()
    case ["list", _]:
        if pid() is None: sys.exit("Could not find service")
        print('{\\n\\t"PID" = %d;\\n};' % pid())
"""

_SYSTEMCTL = """
match sys.argv[2:]:
    case ["restart", _]: stop(); start()
    case ["stop", _] | ["disable", *_]: stop()
    case ["is-active", *_]: sys.exit(0 if pid() is not None else 3)
"""


def stand_in(home: Home, platform: str) -> None:
    """Put a `launchctl` or a `systemctl` of ours into the home, where `PATH` finds it first."""
    name, orders = ("launchctl", _LAUNCHCTL) if platform == "darwin" else ("systemctl", _SYSTEMCTL)
    program = home.workspace("bin") / name
    program.write_text(_STAND_IN + orders)
    program.chmod(0o755)
    home.env["PATH"] = f"{program.parent}{os.pathsep}{home.env['PATH']}"


def systemd_is_possible() -> bool:
    """Return whether a private systemd can be run here: as root, with mount namespaces and cgroups."""
    return (
        sys.platform == "linux"
        and os.geteuid() == 0
        and _systemd() is not None
        and all(shutil.which(program) for program in ("systemctl", "unshare"))
        and bool(_cgroup_trees())
    )


@contextlib.contextmanager
def user_systemd(home: Home, user_home: Path) -> Iterator[None]:
    """Run the real systemd as the manager of a user whose home is `user_home`; the home's XDG_RUNTIME_DIR leads to it.

    It starts in control groups of its own, because it takes over every process of the group that it finds itself in,
    and with a /run of its own, because it refuses to start where systemd is not the system's init.
    """
    name = home.path.name
    groups = [tree / name for tree in _cgroup_trees()]
    for group in groups:
        group.mkdir()
    enter = "".join(f"echo $$ > {group}/cgroup.procs && " for group in groups)
    look = f"grep -q '^0::.*/{name}$' /proc/self/cgroup"
    system = (
        f"mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec {_systemd()} --user --unit=basic.target"
    )
    apart = f"exec unshare --mount --propagation private /bin/sh -c '{system}'"
    manager = home.popen("/bin/sh", "-c", f"{enter}{look} && {apart}", env={"HOME": str(user_home)})
    try:
        version = ("systemctl", "--user", "show", "--property=Version")
        assert poll(lambda: True if home.run(*version).returncode == 0 else None, Deadline(20), 0.1), manager.poll()
        yield
    finally:
        with contextlib.suppress(subprocess.SubprocessError):
            home.run("systemctl", "--user", "exit", timeout=10)
            manager.wait(10)
        end_marked(MARK, str(home.path))
        for group in groups:
            for directory in (*sorted(group.rglob("*/"), reverse=True), group):
                # A control group is busy until the last of its processes is gone altogether.
                assert poll(partial(_removed, directory), Deadline(10), 0.05), directory


def _removed(directory: Path) -> bool | None:
    try:
        directory.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return None
    return True


def _systemd() -> str | None:
    return next((path for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd") if os.path.exists(path)), None)


def _cgroup_trees() -> list[Path]:
    """Return the trees in which systemd keeps its groups: that of version 2, and beside it that of version 1."""
    top = Path("/sys/fs/cgroup")
    trees = [top / "unified", top / "systemd"] if (top / "unified").is_dir() else [top]
    return [tree for tree in trees if os.access(tree / "cgroup.procs", os.W_OK)]
