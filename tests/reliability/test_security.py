"""Another user can neither use what they left below ~/.dev-sessions nor read what is stored there."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev_sessions.codex.app_server import AppServer
from dev_sessions.codex.legacy import LegacyAppServer, legacy_app_server
from dev_sessions.errors import NotOwned, StoreError
from dev_sessions.models import CodexSession
from dev_sessions.remote import ssh
from dev_sessions.sessions.store import Store
from dev_sessions.system import paths
from dev_sessions.system.file_locks import hold_lock
from dev_sessions.system.private_files import ensure_private_dir, read_owned
from dev_sessions.system.process import start_time
from tests.support.cli import needs_proc, ok
from tests.support.gateway import running_gateway
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.remote import NAME, Remote
from tests.support.users import NOBODY, as_root, assert_not_in_arguments

#: Changes the store, takes a lock, and makes what is started have a log, all of it under an audit hook that looks at
#: every file before anything else happens to it.
WATCHED = """
import os, sys
from pathlib import Path
wide, busy = set(), False
def look(event, arguments):
    global busy
    if busy or not event.startswith(("open", "os.", "subprocess.")):
        return
    busy = True
    try:
        for folder, _, names in os.walk(os.environ["HOME"] + "/.dev-sessions"):
            for path in [folder, *(os.path.join(folder, name) for name in names)]:
                try:
                    mode = os.lstat(path).st_mode & 0o777
                except FileNotFoundError:
                    continue
                if mode & 0o077:
                    wide.add((path, oct(mode)))
    finally:
        busy = False
os.umask(int(sys.argv[1], 8))
sys.addaudithook(look)
from dev_sessions.system import paths, programs
from dev_sessions.models import CodexSession
from dev_sessions.system.private_files import ensure_private_dir, open_private, replace_file
from dev_sessions.sessions.store import Store
from dev_sessions.system.file_locks import hold_lock
for number in range(2):
    with hold_lock(paths.sender_lock("fizz-top"), 1, "nothing"), Store(paths.store_file()).edit() as content:
        content.sessions[f"s{number}"] = CodexSession(
            id=f"s{number}", internal_id="i", path="/", created_at="2026-01-01", last_used="2026-01-01"
        )
for folder in (paths.codex_dir(), paths.ssh_dir(), paths.launch_dir()):
    ensure_private_dir(folder)
    replace_file(folder / "file", b"text")
with open(paths.codex_dir() / "log", "ab", opener=open_private) as log:
    pid = programs.spawn_detached(["true"], env=os.environ, log=log.fileno(), cwd=Path("/"))
os.waitpid(pid, 0)
os.scandir("/").close()
print(sorted(wide), len(Store(paths.store_file()).read().sessions))
"""


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Provide the state folder in a home of its own, with an empty store. Its path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="ds-") as home:
        monkeypatch.setenv("HOME", home)
        ensure_private_dir(paths.state_dir())
        paths.store_file().write_text('{"version": 1, "sessions": []}')
        yield paths.state_dir()


@pytest.mark.parametrize("umask", ["000", "022", "777"])
def test_nothing_is_ever_open_to_others(umask: str, tmp_path: Path) -> None:
    """No file or folder below ~/.dev-sessions has ever been wider than its user alone, whatever the umask."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, umask],
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[] 2\n", "")
    private = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / ".dev-sessions").rglob("*")}
    assert private <= {0o600, 0o700}


@as_root
@pytest.mark.parametrize("by_link", [False, True])
def test_a_state_folder_of_another_user_is_refused(tmp_path: Path, by_link: bool) -> None:
    """A state folder of another user, or a link to one, is neither read nor written, and named in one line."""
    theirs = tmp_path / ("theirs" if by_link else ".dev-sessions")
    theirs.mkdir(mode=0o777)
    (theirs / "sessions.json").write_text('{"version": 1, "sessions": []}')
    os.chown(theirs, NOBODY, NOBODY)
    if by_link:
        (tmp_path / ".dev-sessions").symlink_to(theirs)
    for arguments in (["list"], ["status", "fizz-top"], ["create"]):
        done = subprocess.run(
            [sys.executable, "-m", "dev_sessions", *arguments],
            capture_output=True,
            text=True,
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert f"belongs to user {NOBODY}, not to you" in done.stderr
        assert done.stderr.count("\n") == 1
    assert [path.name for path in theirs.iterdir()] == ["sessions.json"]


def test_a_state_folder_may_be_a_link_to_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder may be a link to another folder of the user, whose permissions are tightened."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir(mode=0o755)
    paths.state_dir().symlink_to(tmp_path / "mine")
    with Store(paths.store_file()).edit() as content:
        assert content.sessions == {}
    assert paths.state_dir().is_symlink()
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o700


def test_a_linked_store_stays_a_link(state: Path, tmp_path: Path) -> None:
    """A sessions.json that is a link stays one, and changes are written to the file it leads to."""
    mine = tmp_path / "mine.json"
    paths.store_file().rename(mine)
    paths.store_file().symlink_to(mine)
    Store(paths.store_file()).remove("nobody")
    with Store(paths.store_file()).edit() as content:
        content.other_fields["kept"] = True
        content.sessions["a"] = CodexSession(
            id="a", internal_id="i", path="/", created_at="2026-01-01", last_used="2026-01-01"
        )
    assert (state / "sessions.json").is_symlink()
    assert json.loads(mine.read_text())["kept"] is True


@as_root
def test_a_store_of_another_user_is_not_read_through_a_link(state: Path, tmp_path: Path) -> None:
    """A store that another user can change is not read through a link."""
    theirs = tmp_path / "theirs.json"
    paths.store_file().rename(theirs)
    os.chown(theirs, NOBODY, NOBODY)
    (state / "sessions.json").symlink_to(theirs)
    with pytest.raises(StoreError, match="belongs to user"):
        Store(paths.store_file()).read()


@pytest.mark.parametrize("name", ["sessions.json.lock", ".sessions.flock", ".sessions.holder", "locks"])
def test_no_lock_is_taken_through_a_link(state: Path, tmp_path: Path, name: str) -> None:
    """A link where a lock belongs is refused by name, and what it leads to stays as it was."""
    target = tmp_path / "target"
    if name == "locks":
        target.mkdir()
    else:
        target.write_text("precious")
    target.chmod(0o755)
    (state / name).symlink_to(target)
    with pytest.raises(StoreError, match=f"{name} is a symbolic link"):  # noqa: SIM117 - what raises is one of the two
        with hold_lock(paths.sender_lock("a"), 0, "nothing"), Store(paths.store_file()).edit():
            pass
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert target.is_dir() or target.read_text() == "precious"


@as_root
def test_an_app_server_of_another_user_is_not_talked_to(state: Path, tmp_path: Path) -> None:
    """A socket that somebody else left at our path is refused, and so is a link to one; its owner is not ended."""
    codex = paths.codex_dir()
    ensure_private_dir(codex)
    elsewhere = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(elsewhere))
        theirs.listen()
        os.chown(elsewhere, NOBODY, NOBODY)
        (codex / "app-server.sock").symlink_to(elsewhere)
        with pytest.raises(StoreError, match=r"app-server\.sock belongs to user"):
            AppServer(codex).connect().__enter__()
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.accept()
    assert state.exists()


#: Listens as another user on a socket that seems to be ours, and tells what it was sent.
STRANGER = """
import os, socket, sys
served = socket.socket(socket.AF_UNIX)
served.bind(sys.argv[1])
os.setuid(int(sys.argv[2]))
served.listen()
print("listens", flush=True)
print(*(served.accept()[0].recv(100) for _ in range(2)))
"""


@as_root
@pytest.mark.parametrize("by_link", [False, True])
def test_a_user_who_listens_on_our_socket_is_sent_nothing(state: Path, tmp_path: Path, by_link: bool) -> None:
    """Another user who serves our socket, however they got there, is sent neither a greeting nor a signal."""
    codex = paths.codex_dir()
    ensure_private_dir(codex)
    place = tmp_path / "s" if by_link else codex / "app-server.sock"
    if by_link:
        (codex / "app-server.sock").symlink_to(place)
    argv = [sys.executable, "-c", STRANGER, str(place), str(NOBODY)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as listener, contextlib.ExitStack() as stack:
        stack.callback(listener.kill)
        assert listener.stdout is not None
        assert listener.stdout.readline() == "listens\n"
        assert place.stat().st_uid == os.geteuid()
        for use in (lambda: AppServer(codex).connect().__enter__(), lambda: AppServer(codex).release(lambda: False)):
            with pytest.raises(StoreError, match=f"served by user {NOBODY}"):
                use()
        assert listener.stdout.read() == "b'' b''\n"
        assert listener.wait(10) == 0
    assert (listener.returncode, place.exists(), state.exists()) == (0, True, True)


#: Listens on a port as another user, and prints what it is sent.
ON_A_PORT = """
import os, socket, sys
served = socket.create_server(("127.0.0.1", 0))
os.setuid(int(sys.argv[1]))
served = socket.create_server(("127.0.0.1", 0))
print(served.getsockname()[1], flush=True)
while True:
    with served.accept()[0] as peer:
        print(peer.recv(1 << 16), flush=True)
"""


@contextlib.contextmanager
def port_of_another_user() -> Iterator[int]:
    """Listen on a port as another user, yield it, and assert that nothing was sent there."""
    argv = [sys.executable, "-c", ON_A_PORT, str(NOBODY)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        try:
            yield int(listener.stdout.readline())
        finally:
            listener.kill()
            received = listener.stdout.read()
    assert set(received.splitlines()) <= {"b''"}


def note_app_server_of_the_original(pid: int, port: int) -> None:
    """Write what the original keeps about its app-server."""
    known = {"version": 1, "pid": pid, "port": port, "url": f"ws://127.0.0.1:{port}", "startedAt": "x"}
    paths.legacy_appserver_file().write_text(json.dumps(known))


@as_root
def test_no_process_but_an_app_server_of_ours_is_taken_for_the_originals(state: Path) -> None:
    """A recorded pid that is init's by now, another program's or another user's is not taken for the original's
    app-server."""
    assert state.exists()
    program = [sys.executable, "-c", "import os, sys; os.setuid(int(sys.argv[2])); print(flush=True); input()"]
    for user, believed in ((os.geteuid(), True), (NOBODY, False)):
        argv = [*program, "app-server", str(user)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            note_app_server_of_the_original(process.pid, 9)
            assert (legacy_app_server() is not None) == believed
            process.communicate(b"\n")
    for pid in (1, os.getpid()):
        note_app_server_of_the_original(pid, 9)
        assert legacy_app_server() is None


@as_root
def test_a_user_who_got_the_port_of_an_app_server_is_sent_nothing(state: Path) -> None:
    """If another user has taken over the port of an app-server whose process still runs, nothing is sent there, neither
    for the original's server nor for ours with its token."""
    # macOS's lsof tells whose it is only of one's own.
    refusal = (
        f"served by user {NOBODY}, not by you" if sys.platform == "linux" else "It is not known which user listens"
    )
    with port_of_another_user() as port:
        with pytest.raises(NotOwned, match=refusal):
            LegacyAppServer(os.getpid(), port).connect().__enter__()
        codex = paths.codex_dir()
        ensure_private_dir(codex)
        (codex / "token").write_text("secret")
        known = {"version": 1, "pid": os.getpid(), "started": start_time(os.getpid())}
        known |= {"address": f"ws://127.0.0.1:{port}", "token_file": str(codex / "token")}
        (codex / "state.json").write_text(json.dumps(known))
        with pytest.raises(NotOwned, match=refusal):
            AppServer(codex).connect().__enter__()
    assert state.exists()


@as_root
@pytest.mark.forked
def test_messages_go_to_no_port_because_init_lives(home: Home) -> None:
    """If the original's app-server has ended and its record names pid 1 and a port of another user, a message goes to
    the user's own app-server with the conversation."""
    sid = ok(home.cli("create", "-q", "--cli", "codex", cwd=home.workspace())).strip()
    ok(home.cli("ask", sid, "say before"))
    store = home.path / ".dev-sessions" / "sessions.json"
    content = json.loads(store.read_text())
    with port_of_another_user() as port:
        content["sessions"][0] |= {"appServerPid": 1, "appServerPort": port}
        store.write_text(json.dumps(content))
        known = {"version": 1, "pid": 1, "port": port, "url": f"ws://127.0.0.1:{port}", "startedAt": "x"}
        store.with_name("codex-appserver.json").write_text(json.dumps(known))
        assert ok(home.cli("ask", sid, "history")) == "1: say before\n"
        assert ok(home.cli("status", sid)) == "idle\n"
        ok(home.cli("kill", sid))


@as_root
@pytest.mark.parametrize("name", ["state.json", "app-server.token", "app-server.log", "start.lock"])
def test_a_file_of_another_user_beside_the_app_server_is_not_believed(state: Path, name: str) -> None:
    """A state file, token or log of another user beside the app-server is not used."""
    codex = paths.codex_dir()
    ensure_private_dir(codex)
    (codex / name).write_text('{"version": 1, "pid": 1, "started": "", "address": "ws://127.0.0.1:1"}')
    os.chown(codex / name, NOBODY, NOBODY)
    with pytest.raises(StoreError, match=f"{name} belongs to user"):
        AppServer(codex).connect().__enter__()
    assert AppServer(codex).state() is None
    assert state.exists()


@as_root
def test_a_shared_connection_of_another_user_is_not_used(state: Path) -> None:
    """A socket of another user is never used as ssh's shared connection, which ssh itself does not check."""
    ensure_private_dir(paths.ssh_dir())
    (state / "ssh" / "socket").touch()
    os.chown(state / "ssh" / "socket", NOBODY, NOBODY)
    with pytest.raises(StoreError, match="ssh/socket belongs to user"):
        ssh.run("localhost", "true", None, 5)


def test_a_private_file_is_not_read_through_a_link(state: Path, tmp_path: Path) -> None:
    """A private file is not read through a link."""
    (tmp_path / "other").write_text("text")
    (state / "token").symlink_to(tmp_path / "other")
    with pytest.raises(StoreError, match="symbolic link"):
        read_owned(state / "token")


def kept_with(secret: str, home: Home) -> list[Path]:
    """Return the files below ~/.dev-sessions that hold a secret."""
    kept = [path for path in (home.path / ".dev-sessions").rglob("*") if path.is_file()]
    assert kept
    return [path for path in kept if secret.encode() in path.read_bytes()]


@needs_proc
def test_no_secret_is_seen_in_arguments_nor_kept(home: Home) -> None:
    """Keys, messages and objectives are in no process's arguments, and in no file below ~/.dev-sessions."""
    secret = "c0nfidential"
    env = {"OPENAI_API_KEY": secret, "MY_TOKEN": secret, "DEV_SESSIONS_GATEWAY_TOKEN": secret}
    with assert_not_in_arguments(secret):
        sid = ""
        for agent in ("claude", "codex"):
            sid = ok(home.cli("create", "-q", "--cli", agent, cwd=home.workspace(), env=env)).strip()
            ok(home.cli("ask", sid, "--file", "-", stdin=f"say {secret}", env=env))
        ok(home.cli("goal", sid, "--file", "-", stdin=f"goal 1 {secret}", env=env))
        home.cli("wait", sid, "--goal", "--timeout", "30")
    assert kept_with(secret, home) == []


@needs_proc
def test_no_secret_is_seen_on_its_way(home: Home, model: ScriptedModel) -> None:
    """Keys and messages are in no arguments and no log on the way through a gateway or ssh."""
    secret = "c0nfidential"
    token = home.path / "token"
    token.write_text(secret)
    token.chmod(0o600)
    with Home(model.port) as far, Remote(home, far), assert_not_in_arguments(secret):
        with running_gateway(home, "--port", "0", "--token-file", str(token)) as (gateway, container):
            container.env.update(DEV_SESSIONS_GATEWAY_TOKEN=secret, OPENAI_API_KEY=secret)
            sid = ok(container.cli("create", "-q", "--cli", "codex")).strip()
            ok(container.cli("ask", sid, "--file", "-", stdin=f"say {secret}"))
            ok(container.cli("goal", sid, "--file", "-", stdin=f"goal 1 {secret}"))
            assert secret not in "".join(map(str, gateway.end()))
        there = ("--host", NAME, "--path", str(far.workspace()))
        sid = ok(home.cli("create", "-q", "--cli", "codex", *there, env={"OPENAI_API_KEY": secret})).strip()
        ok(home.cli("ask", sid, "--file", "-", stdin=f"say {secret}"))
        assert secret in ok(home.cli("goal", sid, "--file", "-", stdin=f"goal 1 {secret}"))
        assert kept_with(secret, home) + kept_with(secret, far) == []
