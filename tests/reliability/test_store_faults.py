"""A session store that is damaged, can't be read, or lies on a disk that is full or read-only."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support.cli import create, ok
from tests.support.full_disk import ON_DEV_FULL
from tests.support.home import Home

pytestmark = pytest.mark.forked

RECORD = {
    "championId": "fizz-top",
    "internalId": "514e2e88-e842-440b-8cf3-c963095457ee",
    "cli": "claude",
    "mode": "native",
    "path": "/w",
    "status": "active",
    "createdAt": "2026-01-01T00:00:00.000Z",
    "lastUsed": "2026-01-01T00:00:00.000Z",
}
WHOLE = json.dumps({"version": 1, "sessions": [RECORD]}, indent=2).encode()
COMMANDS = [
    ["list"],
    ["list", "--json"],
    ["status", "fizz-top"],
    ["last-message", "fizz-top"],
    ["logs", "fizz-top"],
    ["wait", "fizz-top"],
    ["send", "fizz-top", "hello"],
    ["create", "--id", "zed-mid"],
    ["kill", "fizz-top"],
    ["kill", "--all"],
    ["recover"],
]
#: One of each kind: what reads, asks an agent, changes and begins.
FEW = [["list"], ["last-message", "fizz-top"], ["send", "fizz-top", "hello"], ["create", "--id", "zed-mid"]]
#: Runs a program as a root whom permissions hold as well as they hold anybody (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH).
HELD = (
    "import ctypes, os, sys\n"
    "if os.geteuid() == 0:\n"
    "    for capability in (1, 2):\n"
    "        assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0\n"
    "os.execvp(sys.argv[1], sys.argv[1:])\n"
)


def store_of(home: Home) -> Path:
    """Return the path of the store, and create its folder."""
    file = home.path / ".dev-sessions" / "sessions.json"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    return file


def is_clear(done: CompletedProcess[str], file: Path) -> None:
    """Assert that the error is one line that names the file and says what to do."""
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert str(file) in done.stderr
    assert any(words in done.stderr for words in ("move it away", "use the newer one", "make it readable", "try again"))


@pytest.mark.parametrize(
    "content",
    [WHOLE[:200], b"", b"\x7fELF\x00\xff" * 50, WHOLE.replace(b'"version": 1', b'"version": 2')],
    ids=["truncated", "empty", "binary", "newer"],
)
def test_a_store_that_is_no_store_stops_every_command_and_is_kept(home: Home, content: bytes) -> None:
    """Every command names a damaged store and says what to do, the file stays the same, and doctor and help work."""
    file = store_of(home)
    file.write_bytes(content)
    for command in COMMANDS if content == b"" else FEW:
        is_clear(home.cli(*command, cwd=home.workspace()), file)
        assert file.read_bytes() == content, command
    doctor = home.cli("doctor", cwd=home.workspace())
    assert doctor.returncode == 1
    assert "✗ store" in doctor.stdout
    assert str(file) in doctor.stdout
    assert home.cli("--help").returncode == 0
    assert home.cli("send", "--help").returncode == 0
    assert home.leftovers() == {}, "nothing was started"


def a_folder(file: Path) -> None:
    """Put a folder in place of the store."""
    file.mkdir()


def unreadable(file: Path) -> None:
    """Make the store unreadable."""
    file.write_bytes(WHOLE)
    file.chmod(0)


@pytest.mark.parametrize("fault", [a_folder, unreadable])
def test_a_store_that_can_not_be_read_is_named(home: Home, fault: Callable[[Path], None]) -> None:
    """A store that cannot be read, or a folder in its place, is named, even for root."""
    file = store_of(home)
    fault(file)
    for command in FEW:
        argv = (sys.executable, "-c", HELD, sys.executable, "-m", "dev_sessions", *command)
        is_clear(home.run(*argv, cwd=home.workspace()), file)
    if file.is_file():
        assert file.read_bytes() == WHOLE
    assert home.leftovers() == {}


def on_a_disk(home: Home, options: str, script: str) -> CompletedProcess[str] | None:
    """Run a shell script where `.dev-sessions` is a disk of its own, which nobody else sees; None where none can be
    mounted."""
    folder = shlex.quote(str(home.path / ".dev-sessions"))
    mount = f"mount -t tmpfs -o {options} none {folder} 2>/dev/null || exit 99\n{script}"
    for unshare in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        try:
            done = home.run(*unshare, "sh", "-c", mount)
        except FileNotFoundError:
            return None
        if done.returncode not in (1, 99) or "unshare" not in done.stderr + "unshare" * (done.returncode == 99):
            return done
    return None


RUN = f"{shlex.quote(sys.executable)} -m dev_sessions"


def test_on_a_full_disk_nothing_is_lost(home: Home) -> None:
    """On a full disk a change fails with a line that names the file and says to make room, the store is unchanged, and
    reading commands work."""
    file = store_of(home)
    (home.path / "whole").write_bytes(WHOLE)
    script = (
        f"cd {home.path}; cp whole {file}; chmod 700 .dev-sessions\n"
        f"head -c 1000000 /dev/zero > .dev-sessions/big 2>/dev/null\n"
        f"{RUN} create --cli codex --id zed-mid; echo $?; cmp whole {file} && echo same\n"
        f"{RUN} list --all --json; echo $?; ls -A .dev-sessions; {RUN} inspect fizz-top\n"
        f"{RUN} doctor --json\n"
    )
    done = on_a_disk(home, "size=256k", script)
    if done is None:
        file.write_bytes(WHOLE)
        done = home.run(sys.executable, "-c", ON_DEV_FULL, "create", "--cli", "codex", "--id", "zed-mid")
        assert (done.returncode, file.read_bytes()) == (1, WHOLE)
    else:
        assert done.stdout.startswith("1\nsame\n"), (done.stdout, done.stderr)
        assert '"championId": "fizz-top"' in done.stdout
        assert ".sessions.json." not in done.stdout, "no litter"
        assert f"the disk of {file.parent} is full: make room on it" in done.stdout
    assert f"Cannot write {file}: No space left on device" in done.stderr
    assert "nothing was changed in it; make room on its disk and try again" in done.stderr
    assert home.leftovers() == {}


def test_where_nothing_can_be_mounted_the_full_device_shows_the_same(home: Home) -> None:
    """A full device has the same effect where no full disk can be mounted."""
    file = store_of(home)
    file.write_bytes(WHOLE)
    done = home.run(sys.executable, "-c", ON_DEV_FULL, "create", "--cli", "codex", "--id", "zed-mid")
    is_clear(done, file)
    assert "No space left on device" in done.stderr
    assert file.read_bytes() == WHOLE
    assert {found.name for found in file.parent.iterdir()} <= {file.name, ".sessions.flock", ".sessions.holder"}


def test_a_message_that_was_sent_does_not_read_as_not_sent(home: Home) -> None:
    """If the disk gets full only after the message was sent, send and ask say that it was, and wait reports its turn;
    if it was full before, nothing is sent."""
    sid = ok(home.cli("create", "-q", "--cli", "codex")).strip()
    assert home.cli("ask", sid, "fail 400").returncode == 1
    for command, room in (("send", "1"), ("ask", "1"), ("send", "0")):
        done = home.run(sys.executable, "-c", ON_DEV_FULL, command, sid, f"say {command}", env={"ROOM_FOR": room})
        assert (done.returncode, done.stdout) == (1, "")
        assert "No space left on device" in done.stderr
        if room == "1":
            assert done.stderr.startswith(
                f"The message was sent to {sid}, do not send it again: dev-sessions wait {sid}."
            )
            assert "try again" not in done.stderr
            assert ok(home.cli("wait", sid)) == "completed\n"
            assert ok(home.cli("last-message", sid)) == f"{command}\n"
    turns = json.loads(ok(home.cli("logs", sid, "--json")))
    assert [turn["text"] for turn in turns if turn["role"] == "human"] == ["fail 400", "say send", "say ask"]
    ok(home.cli("kill", sid))


def test_on_a_read_only_disk_what_reads_goes_on(home: Home) -> None:
    """On a read-only disk a change fails with the reason and the path, and nothing is started for it."""
    file = store_of(home)
    (home.path / "whole").write_bytes(WHOLE)
    script = (
        f"cd {home.path}; cp whole {file}; chmod 700 .dev-sessions; mount -o remount,ro .dev-sessions\n"
        f"{RUN} create --cli codex --id zed-mid; echo $?; cmp whole {file} && echo same\n{RUN} inspect fizz-top\n"
    )
    done = on_a_disk(home, "size=256k", script)
    if done is None:
        file.write_bytes(WHOLE)
        file.parent.chmod(0o500)
        argv = (sys.executable, "-m", "dev_sessions", "create", "--cli", "codex", "--id", "zed-mid")
        done = home.run(sys.executable, "-c", HELD, *argv)
        file.parent.chmod(0o700)
        assert (done.returncode, file.read_bytes()) == (1, WHOLE)
    else:
        assert done.stdout.startswith("1\nsame\n"), (done.stdout, done.stderr)
        assert '"championId": "fizz-top"' in done.stdout
    assert f"Cannot lock {file}: " in done.stderr
    assert "make its disk or folder writable and try again" in done.stderr
    assert home.leftovers() == {}


def test_on_a_read_only_disk_kill_ends_nothing(home: Home) -> None:
    """A session whose record cannot be deleted is not ended: kill says so before, and doctor names the disk."""
    sid = create(home, "claude")
    folder = home.path / ".dev-sessions"
    script = (
        f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} || exit 99\n"
        f"{RUN} kill {sid}; {RUN} kill {sid} other; {RUN} doctor --json; {RUN} status {sid}"
    )
    done = home.run("unshare", "--mount", "--propagation", "private", "sh", "-c", script)
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("nothing can be mounted here")
    first, second, *_ = done.stderr.splitlines()
    assert f"Cannot lock {store_of(home)}: Read-only file system; nothing was changed" in first
    assert second.endswith(first)
    assert f"{home.path}/.dev-sessions is on a read-only disk" in done.stdout
    assert done.stdout.endswith("idle\n")
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"


def test_doctor_says_that_the_first_session_cannot_be_recorded(home: Home) -> None:
    """Before there is a store, doctor says that none can be created in a home that is not writable."""
    home.path.chmod(0o500)
    try:
        done = home.run(sys.executable, "-c", HELD, sys.executable, "-m", "dev_sessions", "doctor", "--json")
    finally:
        home.path.chmod(0o700)
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["store"]["verdict"] == "broken"
    assert f"{home.path} is not writable" in checks["store"]["text"]


def test_an_output_that_can_not_be_written_is_an_error(home: Home) -> None:
    """A command whose output cannot be saved to a full disk fails."""
    store_of(home).write_bytes(WHOLE)
    done = home.run("sh", "-c", f"{RUN} inspect fizz-top > /dev/full")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
