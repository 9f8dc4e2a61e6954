"""Read the user's configuration of tmux: from the running server, or from a private one that reads their files.

Nothing of the user's own server is changed. A private one runs what their files tell it, as every start of tmux does.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dev_sessions.claude.tmux import Tmux, session_name
from dev_sessions.errors import ProtocolError
from dev_sessions.system import paths, pid_namespace
from dev_sessions.system.deadline import Deadline, wait_until
from dev_sessions.system.environment import independent_environment
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.process import is_alive
from dev_sessions.system.programs import run

#: Print all options and hooks of the server and of new sessions and windows: `exit-unattached off`, `mouse on`,
#: `after-new-session[0] kill-session`, or the name alone of a hook that is not set.
_SHOW = "show-options -s ; show-options -g ; show-options -gw ; show-hooks -g ; show-hooks -gw".split()


@fast_dataclass(frozen=True)
class TmuxConfiguration:
    """Options and hooks by their names, as tmux prints them, and the errors in the user's files.

    `is_running` says whether they are those of the running server, which reports no errors.
    """

    values: dict[str, str]
    errors: tuple[str, ...]
    is_running: bool


def read_configuration(timeout: float) -> TmuxConfiguration:
    """Return the configuration of the server that a plain `tmux` uses here, or would start.

    Raises ProtocolError, TimeoutError, NotOwned.
    """
    tmux = Tmux()
    if tmux.liveness(session_name("")) in ("alive", "dead"):
        return TmuxConfiguration(_parse(tmux.output(*_SHOW)), (), is_running=True)
    environment = {name: value for name, value in independent_environment().items() if name != "TMUX"}
    with tempfile.TemporaryDirectory() as folder:
        server = ["tmux", "-u", "-S", os.path.join(folder, "tmux"), "-f", os.devnull]
        sources = [word for file in configuration_files() for word in ("source-file", str(file), ";")]
        # A session first, which no hook of theirs sees. With its last client it may end, so all is one call.
        session = ["new-session", "-d", "-P", "-F", "#{pid}", "cat", ";"]
        command = [*session, *sources, *_SHOW, ";", "kill-server"]
        try:
            done = run([*server, *command], timeout=timeout, env=environment)
        finally:
            run([*server, "kill-server"], timeout=timeout, env=environment)
    pid, _, shown = done.stdout.partition("\n")
    if not pid.isdigit():
        pid_namespace.require_unsandboxed("tmux does not start")
        raise ProtocolError(f"tmux does not start: it printed {done.stderr.strip()!r}; check that tmux works: tmux")
    # It answers before it ends.
    wait_until(lambda: not is_alive(int(pid)), Deadline(timeout))
    return TmuxConfiguration(_parse(shown.splitlines()), tuple(done.stderr.splitlines()), is_running=False)


def configuration_files() -> list[Path]:
    """Return the files that tmux reads when its server starts, of those that exist (3.3a)."""
    xdg = os.environ.get("XDG_CONFIG_HOME")
    places = [Path("/etc/tmux.conf"), paths.home() / ".tmux.conf"]
    places += [Path(xdg) / "tmux" / "tmux.conf"] if xdg else []
    places.append(paths.home() / ".config" / "tmux" / "tmux.conf")
    return [file for file in dict.fromkeys(places) if file.is_file()]


def _parse(lines: Sequence[str]) -> dict[str, str]:
    return {name: value for name, _, value in (line.partition(" ") for line in lines) if value}
