"""The one app-server that all Codex sessions share: started when first needed, found again by later commands.

Everything of it lies in one directory of mode 0700: `state.json`, the socket, the log and, where the path is too long
for a unix socket, the token of a port. The kernel lock `start.lock` is held by whoever starts or stops it.

`codex` on PATH may be a launcher (node) whose child is the server. It leads the group that both are in, passes SIGTERM
on and ends with its child; but killed alone, it leaves the server behind, which is then known by our socket
(measured on 0.150 to 0.169). Should the directory be removed, the server lives on, with the threads that it alone may
write to, and is known by its command line.

Launcher and server have the locked file `alive.lock` as their standard input (0.150 to 0.171): as long as somebody
holds that lock, one that can't be reached, or is of another pid namespace, is not taken for gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeAlias

from dev_sessions.codex import client, protocol
from dev_sessions.codex.app_server_log import ServerLog
from dev_sessions.codex.client import Client, ConnectionLost, NoAnswer, NotListening
from dev_sessions.errors import ProcessesUnseen, ProgramMissing, ProtocolError, StartFailed, StoreError
from dev_sessions.models import CodexSession
from dev_sessions.system import file_locks, paths, pid_namespace, process
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.file_locks import locked
from dev_sessions.system.private_files import ensure_private_dir, read_owned, replace_file, require_owned
from dev_sessions.system.process_id import ProcessId

Version: TypeAlias = tuple[int, int, int]

_STATE_VERSION = 1
_OLDEST: Version = (0, 150, 0)
#: Bytes that fit into a unix socket's address on every system (macOS: 104 with the final zero).
_SOCKET_PATH_LIMIT = 104
#: Seconds. Measured: 0.1 to 0.5, and 1.8 with cold caches.
_START_TIMEOUT = 30.0
_LOCK_TIMEOUT = _START_TIMEOUT + 15.0
#: Seconds for one that closes its connections to end, and between two looks.
CLOSE_TIMEOUT, _POLL_INTERVAL = 2.0, 0.05
#: Characters of what `codex --version` printed that are shown when it names none.
_SHOWN = 4096
_INSTALL = "install one with: npm install -g @openai/codex@latest"


@fast_dataclass(frozen=True)
class ServerState:
    """A running app-server. `pid` with `started` (see `process.start_time`) names the leader of its process group, in
    the pid namespace `domain`; `lock` is the name of the lock that it holds. `address` is empty while it starts.
    `codex_version` and `codex_home` are what it was started with."""

    pid: int
    started: str
    address: str
    codex_version: str
    codex_home: str
    token_file: str | None = None
    domain: str | None = None
    lock: str | None = None

    @property
    def process(self) -> ProcessId:
        """The leader of its process group."""
        return ProcessId(self.pid, self.started)

    @property
    def pid_here(self) -> int:
        """The process, where its pid means something here; else 0."""
        where = pid_namespace.place(self.domain)
        here = where == "here" or (where == "untold" and pid_namespace.outlasts_command())
        return self.pid if here else 0


@fast_dataclass(frozen=True)
class LegacyAppServer:
    """The original's app-server, which serves the sessions whose records name it."""

    pid: int
    port: int

    def serves(self, session: CodexSession) -> bool:
        """Whether a session's thread lives there."""
        return (session.app_server_pid, session.app_server_port) == (self.pid, self.port)

    @contextlib.contextmanager
    def connect(self) -> Iterator[Client]:
        """A connection. NotListening when the process of that pid is no app-server any more."""
        with client.connect(f"ws://127.0.0.1:{self.port}", server=_name(self.pid)) as found:
            require_supported_server(found, self.pid)
            yield found


class AppServer:
    """Our app-server, by its directory. Nothing is kept in memory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._state_file = directory / "state.json"
        self._socket = directory / "app-server.sock"
        self._token_file = directory / "app-server.token"
        self._log = ServerLog(directory)
        self._lock_file = directory / "start.lock"
        self._alive_file = directory / "alive.lock"

    @contextlib.contextmanager
    def connect(self) -> Iterator[Client]:
        """A connection, to an app-server that is started when none runs.

        StartFailed, ProgramMissing (no Codex, or one that can't be used), ProtocolError (it hangs; names its pid).
        """
        with contextlib.ExitStack() as stack:
            found = self._enter(stack)
            if found is None:
                ensure_private_dir(self._directory)
                with self._lock():
                    found = self._enter(stack) or self._start(stack)
            state = self.state()
            require_supported_server(found, state.pid_here if state is not None else 0)
            self._log.bound(self._lock)
            yield found

    @contextlib.contextmanager
    def connect_if_running(self) -> Iterator[Client | None]:
        """A connection, or None when no app-server runs. Starts nothing."""
        with contextlib.ExitStack() as stack:
            yield self._enter(stack)

    def state(self) -> ServerState | None:
        """What is on file about our app-server, running or not; None when that is nothing, can't be read, or is not
        ours."""
        try:
            return _parse_state(read_owned(self._state_file))
        except (OSError, StoreError):
            return None

    def release(self, in_use: Callable[[], bool]) -> None:
        """Stop the app-server unless `in_use`, which is asked under the lock under which it is started. One that may
        run where it is not seen stays: whoever sees it ends it."""
        with contextlib.suppress(ProcessesUnseen):
            self._release(in_use)

    def _release(self, in_use: Callable[[], bool]) -> None:
        if not self._directory.is_dir() and not self._started_here():
            return
        ensure_private_dir(self._directory)
        self._require_owned()
        with self._lock():
            if in_use():
                return
            self._end()
            for file in (self._state_file, self._socket, self._token_file, self._alive_file):
                file.unlink(missing_ok=True)

    @property
    def _unix_address(self) -> str:
        """The address of the socket in our directory; empty when the path is too long for one."""
        return f"unix://{self._socket}" if len(os.fsencode(self._socket)) < _SOCKET_PATH_LIMIT else ""

    def _enter(self, stack: contextlib.ExitStack) -> Client | None:
        """A connection to what runs. Without a state on file that is whoever listens on our socket: in a directory
        that only its user can enter, it is ours. StoreError for what somebody else has left there."""
        self._require_owned()
        state = self.state() or ServerState(0, "", self._unix_address, "", "")
        # While it starts there is no address; and a port may belong to a stranger by now.
        if not state.address or not (_is_unix(state.address) or process.is_running(state.process)):
            return None
        deadline = Deadline(CLOSE_TIMEOUT)
        while True:
            try:
                token = read_owned(Path(state.token_file)).decode() if state.token_file else None
                return stack.enter_context(client.connect(state.address, token, _name(state.pid_here)))
            except FileNotFoundError:
                return None
            except (NotListening, ConnectionLost) as error:
                if not _is_unix(state.address) or _is_deserted(state.address):
                    self._require_seen(state)
                    return None
                # It ends, or has too much to do.
                if deadline.expired:
                    raise _useless(state, "closes every connection") from error
            except NoAnswer as error:
                raise _useless(state, "does not answer") from error
            deadline.pause(_POLL_INTERVAL)

    def _require_owned(self) -> None:
        """StoreError when anything there is another user's, or leads elsewhere: it would be talked to, or ended."""
        mine = (self._directory, self._state_file, self._token_file, self._lock_file, self._alive_file)
        require_owned(*mine, *self._log.files)
        require_owned(self._socket, link=True)  # Codex itself makes it a link, to a socket of its user's (0.169)

    def _require_seen(self, state: ServerState | None) -> None:
        """ProcessesUnseen when an app-server may live that is not seen here, and that nobody listens says nothing."""
        where = pid_namespace.place(state.domain if state is not None else None)
        if where in ("here", "ended"):
            return
        what = "Codex's app-server is not reached from here"
        if not pid_namespace.outlasts_command():
            raise pid_namespace.in_sandbox(what)
        if where == "untold" or (
            where == "other namespace" and state is not None and file_locks.is_released(self._alive_file, state.lock)
        ):
            return
        machine = pid_namespace.machine_of(state.domain) if state is not None and state.domain else ""
        raise ProcessesUnseen(
            f"{what}: it was started "
            + (f"on another machine, {machine}" if where == "other machine" else "in another pid namespace")
            + f"; run this there, or remove {self._state_file} if that is gone for good"
        )

    def _start(self, stack: contextlib.ExitStack) -> Client:
        """Start it, under the lock under which `_enter` found nothing."""
        pid_namespace.require_outlasting("Codex's app-server was not started")
        self._end()
        program = process.find_program("codex")
        version = _version_of(program)
        address = self._unix_address or "ws://127.0.0.1:0"
        argv = [program, "app-server", "--listen", address]
        token: str | None = None
        if not _is_unix(address):
            token = secrets.token_urlsafe(32)
            replace_file(self._token_file, token.encode())
            argv += ["--ws-auth", "capability-token", "--ws-token-file", str(self._token_file)]
        pid = self._spawn(argv)
        state = ServerState(
            pid=pid,
            started=process.start_time(pid) or "",
            address="",
            codex_version=_text(version),
            codex_home=str(paths.codex_home()),
            token_file=str(self._token_file) if token is not None else None,
            domain=pid_namespace.domain(),
            lock=file_locks.name_of(self._alive_file),
        )
        try:
            # On file before it is ready, so that what a killed command leaves half started can be ended.
            self._save(state)
            address = self._await_ready(state, address)
            found = stack.enter_context(client.connect(address, token, _name(pid)))
            self._save(replace(state, address=address))
        except BaseException:
            _end_process(state.process)
            self._state_file.unlink(missing_ok=True)
            raise
        return found

    def _spawn(self, argv: list[str]) -> int:
        try:
            # In a directory that stays.
            with self._log.begin() as log, open(file_locks.new_locked(self._alive_file), "rb") as alive:
                return process.spawn_detached(
                    argv,
                    env=paths.independent_environment(),
                    stdin=alive.fileno(),
                    log=log.fileno(),
                    cwd=self._directory,
                )
        except OSError as error:
            raise StartFailed(
                f"Cannot start Codex's app-server with its log {self._log}: {error.strerror}; make its folder writable"
            ) from error

    def _await_ready(self, state: ServerState, address: str) -> str:
        """The address at which it listens, once it does."""

        def listening() -> str | None:
            found = self._listening_address(address)
            if found is None and not process.is_running(state.process):
                raise StartFailed(f"Codex's app-server ended while it started; its log says:\n{self._log.tail()}")
            return found

        found = poll(listening, Deadline(_START_TIMEOUT))
        if found is None:
            raise StartFailed(
                f"Codex's app-server did not get ready within {_START_TIMEOUT:g} s; its log says:\n{self._log.tail()}"
            )
        return found

    def _listening_address(self, address: str) -> str | None:
        if not _is_unix(address):
            match = re.search(r"listening on: (ws://127\.0\.0\.1:\d+)", self._log.printed())
            return match[1] if match else None
        try:
            client.open_socket(address).close()
        except OSError:
            return None
        return address

    def _end(self) -> None:
        """End what is on file, who listens on our socket (the server, also when its launcher is gone), and who was told
        to and is cut off from it, with our whole directory. ProcessesUnseen when one may live that is not seen here."""
        state = self.state()
        self._require_seen(state)
        listener = _listener(self._unix_address)
        server = process.identify(listener) if listener is not None else None
        if state is not None and state.pid_here:
            _end_process(state.process)
        if server is not None:
            _end_process(server)
        for found in self._started_here():
            _end_process(found)

    def _started_here(self) -> list[ProcessId]:
        """Return the app-servers that were told to listen here."""
        told = [f"--ws-token-file {self._token_file}"]
        if self._unix_address:
            told.append(f"/codex app-server --listen {self._unix_address}")
        pids = [pid for pid, line in process.command_lines().items() if line.endswith(tuple(told))]
        return [found for pid in pids if (found := process.identify(pid)) is not None]

    def _save(self, state: ServerState) -> None:
        replace_file(self._state_file, json.dumps({"version": _STATE_VERSION, **asdict(state)}, indent=2).encode())

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(self._lock_file, _LOCK_TIMEOUT))
            except TimeoutError as error:
                raise StartFailed(
                    f"Another command has been starting or stopping Codex's app-server for {_LOCK_TIMEOUT:g} s;"
                    " try again"
                ) from error
            except OSError as error:
                raise StartFailed(
                    f"Cannot lock {self._lock_file}: {error.strerror}; make its directory writable"
                ) from error
            yield


def legacy_app_server() -> LegacyAppServer | None:
    """The original's app-server, from `{"version": 1, "pid", "port", "url", "startedAt"}`; None when it has ended.

    The original runs `codex app-server --listen ws://127.0.0.1:0`. A process that is no app-server of our user's has
    got its pid since; who listens on the port is asked when it is connected to.
    """
    try:
        found = json.loads(read_owned(paths.legacy_appserver_file()))
    except (OSError, ValueError, RecursionError, StoreError):
        return None
    match found:
        case {"pid": int(pid), "port": int(port)} if pid > 0 and process.is_alive(pid):
            if "app-server" in (process.command_line(pid) or "").split():
                return LegacyAppServer(pid, port)
    return None


def require_supported(version: tuple[int, ...]) -> None:
    """ProgramMissing, which names the version that is needed, for a Codex that is too old."""
    if version < _OLDEST:
        raise ProgramMissing(f"Codex {_text(version)} is too old: {_text(_OLDEST)} or newer is needed; {_INSTALL}")


def require_supported_server(running: Client, pid: int) -> None:
    """ProgramMissing for an app-server that an older Codex started, and that goes on."""
    if running.version is not None and running.version < _OLDEST:
        end = f"kill {pid}" if pid else "dev-sessions kill --all"
        raise ProgramMissing(
            f"{_name(pid)} is Codex {_text(running.version)}, which is too old: {_text(_OLDEST)} or newer is needed;"
            f" end it when its turns are over: {end} (conversations are kept, and the next command starts what is"
            " installed)"
        )


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _version_of(program: str) -> Version:
    try:
        done = process.run([program, "--version"])
    except TimeoutError as error:
        raise StartFailed(f"{error}; see what hangs with: codex --version") from error
    version = protocol.version_in(done.stdout)
    if version is None:
        printed = (done.stderr or done.stdout).strip()[-_SHOWN:]
        raise ProgramMissing(f"{program} --version names no version; {_INSTALL}. It printed:\n{printed}")
    require_supported(version)
    return version


def _parse_state(text: bytes) -> ServerState | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match found:
        case {"version": 1, "pid": int(pid), "started": str(started), "address": str(address)} if pid > 0:
            token_file = found.get("token_file")
            return ServerState(
                pid,
                started,
                address,
                str(found.get("codex_version")),
                str(found.get("codex_home")),
                token_file if isinstance(token_file, str) else None,
                str(found["domain"]) if found.get("domain") else None,
                str(found["lock"]) if found.get("lock") else None,
            )
    return None


def _is_unix(address: str) -> bool:
    return address.startswith("unix://")


def _name(pid: int) -> str:
    return f"Codex's app-server (process {pid})" if pid else "Codex's app-server"


def _listener(address: str) -> int | None:
    """The process that listens on a unix socket; None when nobody does, or the system does not tell."""
    if not _is_unix(address):
        return None
    try:
        with client.open_socket(address) as opened:
            return process.listener(opened)
    except OSError:
        return None


def _is_deserted(address: str) -> bool:
    """Whether provably nobody listens on a unix socket."""
    try:
        client.open_socket(address).close()
    except (ConnectionRefusedError, FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    return False


def _useless(state: ServerState, what: str) -> ProtocolError:
    """The error for an app-server that lives and can't be used."""
    # A launcher that is killed leaves its server: name the server, or else the whole group.
    target = _listener(state.address) or -state.pid_here
    if target == 0:
        return ProtocolError(f"{_name(0)} {what}; try again, or end it where it runs if it hangs")
    return ProtocolError(
        f"{_name(abs(target))} {what}; end it with: kill -9 -- {target}"
        " (conversations are kept, and the next command starts a new one)"
    )


def _end_process(server: ProcessId) -> None:
    """End an app-server if that process is still it: with its group when it leads one, as a launcher does."""
    if not process.is_running(server):
        return
    with contextlib.suppress(ProcessLookupError):
        if not process.terminate(server, group=os.getpgid(server.pid) == server.pid):
            raise ProtocolError(f"{_name(server.pid)} can't be ended; look at it with: ps -p {server.pid}")
