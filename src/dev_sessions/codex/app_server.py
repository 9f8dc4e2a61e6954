"""The app-server that all Codex sessions of a CODEX_HOME share: started when first needed, found by later commands.

Its files are in one directory of mode 0700: `state.json`, the socket, the log and, where the path is too long for a
unix socket, the token of a TCP port. Whoever starts or stops it holds the file lock `start.lock`.

`codex` on PATH may be a launcher (node) whose child is the server. The launcher leads their process group, passes
SIGTERM on and ends with its child. Killed alone, it leaves the server behind, which is then found by the process that
listens on the socket (0.150 to 0.169). When the directory was removed, the server lives on, with the threads that it
alone may write to, and is found by its command line.

Launcher and server have the locked file `alive.lock` as their standard input (0.150 to 0.171): as long as that lock is
held, an app-server that cannot be reached, or runs in another pid namespace, is not considered ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dev_sessions.codex import client
from dev_sessions.codex.app_server_log import ServerLog
from dev_sessions.codex.app_server_state import ServerState, parse_state, serialize_state
from dev_sessions.codex.client import (
    Client,
    ConnectionLost,
    NoAnswer,
    NotListening,
    require_supported_server,
    server_name,
)
from dev_sessions.errors import LivenessUnknown, ProtocolError, StartFailed, StoreError
from dev_sessions.system import file_locks, listeners, paths, pid_namespace, process, suspension
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.fast_dataclass import replace
from dev_sessions.system.file_locks import locked
from dev_sessions.system.private_files import ensure_private_dir, read_owned, replace_file, require_owned
from dev_sessions.system.process_id import ProcessId
from dev_sessions.system.unix_address import socket_path, unix_address
from dev_sessions.system.version import version_text

if TYPE_CHECKING:
    import socket

#: Bytes of a unix socket's path that fit on every system (macOS: 104 with the final zero).
_SOCKET_PATH_LIMIT = 104
#: Seconds until it listens. Measured: 0.1 to 0.5, and 1.8 with cold caches.
_START_TIMEOUT = 30.0
_LOCK_TIMEOUT = _START_TIMEOUT + 15.0
#: Seconds for a server that closes its connections to end, and between two connection attempts.
CLOSE_TIMEOUT, _POLL_INTERVAL = 2.0, 0.05


class AppServer:
    """A shared app-server, by its directory. Keeps no state in memory.

    `codex_home` is the CODEX_HOME with which it is started; None: that of the command.
    """

    def __init__(self, directory: Path, codex_home: str | None = None) -> None:
        self._directory = directory
        self._codex_home = codex_home or str(paths.codex_home())
        self._state_file = directory / "state.json"
        self._socket = directory / "app-server.sock"
        self._token_file = directory / "app-server.token"
        self._log = ServerLog(directory)
        self._lock_file = directory / "start.lock"
        self._alive_file = directory / "alive.lock"

    @contextlib.contextmanager
    def connect(self) -> Iterator[Client]:
        """Connect to the app-server, and start it when none runs.

        Raises StartFailed, ProgramMissing when Codex is missing or unsupported, ProtocolError when it hangs.
        """
        with contextlib.ExitStack() as stack:
            connected = self._connect(stack)
            if connected is None:
                ensure_private_dir(self._directory)
                with self._lock():
                    connected = self._connect(stack) or self._start(stack)
            state = self.state()
            require_supported_server(connected, state.pid_here if state is not None else 0)
            self._log.rotate(self._lock)
            yield connected

    @contextlib.contextmanager
    def connect_if_running(self) -> Iterator[Client | None]:
        """Connect to the app-server; None when none runs. Starts nothing."""
        with contextlib.ExitStack() as stack:
            yield self._connect(stack)

    def state(self) -> ServerState | None:
        """Read the state file, whether the app-server runs or not; None without a valid file of this user."""
        try:
            return parse_state(read_owned(self._state_file))
        except (OSError, StoreError):
            return None

    def release(self, in_use: Callable[[], bool]) -> None:
        """Stop the app-server unless `in_use()`, which is called under the lock that a start takes, too.

        An app-server that may run where this process cannot see it is left alone.
        """
        with contextlib.suppress(LivenessUnknown):
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
        """The address of the socket; empty when its path is too long for one."""
        return unix_address(self._socket) if len(os.fsencode(self._socket)) < _SOCKET_PATH_LIMIT else ""

    def _connect(self, stack: contextlib.ExitStack) -> Client | None:
        """Connect to the running app-server; None when none runs.

        Without a state file, that is the process that listens on the socket: nobody else can enter the directory.
        Raises StoreError for a file of another user.
        """
        self._require_owned()
        state = self.state() or ServerState(0, "", self._unix_address, "", "")
        # While it starts there is no address; and another program may have got the port after it ended.
        if not state.address or not (_is_unix(state.address) or process.is_running(state.process)):
            return None

        def check(connected: socket.socket) -> None:
            _require_not_stopped(state, listeners.listener(connected) if _is_unix(state.address) else None)

        deadline = Deadline(CLOSE_TIMEOUT)
        while True:
            try:
                token = read_owned(Path(state.token_file)).decode() if state.token_file else None
                return stack.enter_context(client.connect(state.address, token, server_name(state.pid_here), check))
            except FileNotFoundError:
                return None
            except (NotListening, ConnectionLost) as error:
                if not _is_unix(state.address) or self._nobody_listens(state.address):
                    self._require_visible(state)
                    return None
                # It is ending, or overloaded.
                if deadline.expired:
                    raise _unusable(state, "closes every connection") from error
            except NoAnswer as error:
                _require_not_stopped(state, _listener(state.address))
                raise _unusable(state, "does not answer") from error
            deadline.pause(_POLL_INTERVAL)

    def _nobody_listens(self, address: str) -> bool:
        """Return whether provably nobody listens on a unix socket.

        Where the backlog is full, Linux lets a connection wait, and BSD refuses it, as if nobody listened.
        """
        try:
            client.open_socket(address).close()
        except ConnectionRefusedError:
            return pid_namespace.ON_LINUX or not file_locks.is_held(self._alive_file)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            pass
        return False

    def _require_owned(self) -> None:
        """Raise StoreError when a file there belongs to another user, or is a link."""
        files = (self._directory, self._state_file, self._token_file, self._lock_file, self._alive_file)
        require_owned(*files, *self._log.files)
        require_owned(self._socket, link=True)  # Codex makes it a link to a socket of the same user (0.169)

    def _require_visible(self, state: ServerState | None) -> None:
        """Raise LivenessUnknown when an app-server may run where this process cannot see it."""
        where = pid_namespace.place(state.domain if state is not None else None)
        if where in ("here", "ended"):
            return
        what = "Codex's app-server cannot be reached from here"
        pid_namespace.require_unsandboxed(what)
        if where == "unknown" or (
            where == "other namespace" and state is not None and file_locks.is_released(self._alive_file, state.lock)
        ):
            return
        machine = pid_namespace.machine_of(state.domain) if state is not None and state.domain else ""
        raise LivenessUnknown(
            f"{what}: it was started "
            + (f"on another machine, {machine}" if where == "other machine" else "in another pid namespace")
            + f"; run this command there, or remove {self._state_file} if that is gone for good"
        )

    def _start(self, stack: contextlib.ExitStack) -> Client:
        """Start an app-server and connect to it. The caller holds the lock."""
        from dev_sessions.codex.preflight import require_supported_program
        from dev_sessions.system import programs
        from dev_sessions.system.environment import independent_environment

        pid_namespace.require_unsandboxed("Codex's app-server was not started")
        self._end()
        program = programs.find_program("codex")
        version = require_supported_program(program)
        address = self._unix_address or "ws://127.0.0.1:0"
        argv = [program, "app-server", "--listen", address]
        token: str | None = None
        if not _is_unix(address):
            token = secrets.token_urlsafe(32)
            replace_file(self._token_file, token.encode())
            argv += ["--ws-auth", "capability-token", "--ws-token-file", str(self._token_file)]
        environment = independent_environment()
        if self._codex_home != str(paths.codex_home()):
            environment["CODEX_HOME"] = self._codex_home
        pid = self._spawn(argv, environment)
        state = ServerState(
            pid=pid,
            started=process.start_time(pid) or "",
            address="",
            codex_version=version_text(version),
            codex_home=self._codex_home,
            variables=tuple(sorted(environment)),
            token_file=str(self._token_file) if token is not None else None,
            domain=pid_namespace.domain(),
            lock=file_locks.lock_id(self._alive_file),
        )
        try:
            # Before it is ready, so that a later command can end it when this one is killed.
            self._save(state)
            address = self._await_ready(state, address)
            with client.time_limit(None):  # a caller in a hurry must not end it again
                connected = stack.enter_context(client.connect(address, token, server_name(pid)))
            self._save(replace(state, address=address))
        except BaseException:
            _end_process(state.process)
            self._state_file.unlink(missing_ok=True)
            raise
        return connected

    def _spawn(self, argv: list[str], environment: dict[str, str]) -> int:
        from dev_sessions.system import programs

        try:
            with self._log.open_new() as log, open(file_locks.new_locked(self._alive_file), "rb") as alive:
                return programs.spawn_detached(
                    argv,
                    env=environment,
                    stdin=alive.fileno(),
                    log=log.fileno(),
                    cwd=self._directory,  # the caller's may be removed
                )
        except OSError as error:
            raise StartFailed(
                f"Cannot start Codex's app-server with its log {self._log}: {error.strerror}; make its folder writable"
            ) from error

    def _await_ready(self, state: ServerState, address: str) -> str:
        """Wait until it listens, and return its address. Raises StartFailed."""
        from dev_sessions.codex.preflight import socket_dir_problem

        def listening() -> str | None:
            actual = self._listening_address(address)
            if actual is None and not process.is_running(state.process):
                refused = socket_dir_problem(f"/tmp/codex-daemon-{os.geteuid()}")
                raise StartFailed(
                    refused or f"Codex's app-server ended while it started; its log says:\n{self._log.tail()}"
                )
            return actual

        actual = poll(listening, Deadline(_START_TIMEOUT))
        if actual is None:
            raise StartFailed(
                f"Codex's app-server was not ready within {_START_TIMEOUT:g} s; its log says:\n{self._log.tail()}"
            )
        return actual

    def _listening_address(self, address: str) -> str | None:
        """Return the address that it listens on, once it does.

        For port 0 the log names the port: `  listening on: ws://127.0.0.1:40123`.
        """
        if not _is_unix(address):
            match = re.search(r"listening on: (ws://127\.0\.0\.1:\d+)", self._log.read_end())
            return match[1] if match else None
        try:
            client.open_socket(address).close()
        except OSError:
            return None
        return address

    def _end(self) -> None:
        """End the app-server, however it is found: by the state file, by its socket or by its command line.

        The socket finds a server whose launcher is gone, the command line one whose directory was removed. Raises
        LivenessUnknown when one may run where this process cannot see it.
        """
        state = self.state()
        self._require_visible(state)
        listener = _listener(self._unix_address)
        server = process.identify(listener) if listener is not None else None
        if state is not None and state.pid_here:
            _end_process(state.process)
        if server is not None:
            _end_process(server)
        for found in self._started_here():
            _end_process(found)

    def _started_here(self) -> list[ProcessId]:
        """Return the app-servers whose command line names this directory."""
        endings = [f"--ws-token-file {self._token_file}"]
        if self._unix_address:
            endings.append(f"/codex app-server --listen {self._unix_address}")
        pids = [pid for pid, line in process.command_lines().items() if line.endswith(tuple(endings))]
        return [found for pid in pids if (found := process.identify(pid)) is not None]

    def _save(self, state: ServerState) -> None:
        replace_file(self._state_file, serialize_state(state))

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


def _is_unix(address: str) -> bool:
    return socket_path(address) is not None


def _listener(address: str) -> int | None:
    """Return the pid of the process that listens on a unix socket; None when there is none, or it is unknown."""
    if not _is_unix(address):
        return None
    try:
        with client.open_socket(address) as opened:
            return listeners.listener(opened)
    except OSError:
        return None


def _require_not_stopped(state: ServerState, listener: int | None) -> None:
    """Raise ProtocolError when the app-server is stopped: the kernel accepts connections, but nobody would answer."""
    pid = listener or state.pid_here
    if pid and suspension.is_stopped(pid):
        raise ProtocolError(
            f"{server_name(pid)} is stopped; let it continue with: kill -CONT -- -{os.getpgid(pid)}"
            f" (or end it: kill -9 -- {pid}; conversations are kept)"
        )


def _unusable(state: ServerState, what: str) -> ProtocolError:
    """Return the error for an app-server that runs and cannot be used."""
    # A launcher that is killed leaves its server: name the server, or else the whole group.
    target = _listener(state.address) or -state.pid_here
    if target == 0:
        return ProtocolError(f"{server_name(0)} {what}; try again, or end it where it runs if it hangs")
    return ProtocolError(
        f"{server_name(abs(target))} {what}; end it with: kill -9 -- {target}"
        " (conversations are kept, and the next command starts a new one)"
    )


def _end_process(server: ProcessId) -> None:
    """End an app-server, with its process group when it leads one, as a launcher does."""
    if not process.is_running(server):
        return
    with contextlib.suppress(ProcessLookupError):
        if not process.terminate(server, group=os.getpgid(server.pid) == server.pid):
            raise ProtocolError(f"{server_name(server.pid)} could not be ended; see what it does: ps -p {server.pid}")
