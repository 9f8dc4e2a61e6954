"""A person who attaches a terminal to a session."""

from __future__ import annotations

from subprocess import CompletedProcess
from types import TracebackType
from typing import Self

from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import ok
from tests.support.home import Home


class Person:
    """A person at a terminal, which is a pane of another tmux server. Exit ends that server."""

    def __init__(self, home: Home, columns: int = 150, rows: int = 40) -> None:
        self._home = home
        size = ("-x", str(columns), "-y", str(rows))
        # Without a status line the terminal has all rows.
        no_status = ("set-option", "-t", "person", "status", "off")
        ok(self._tmux("new-session", "-d", *size, "-s", "person", "env", "-u", "TMUX", "bash", ";", *no_status))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tmux("kill-server")

    def types(self, *keys: str) -> None:
        """Press keys."""
        ok(self._tmux("send-keys", "-t", "person", *keys))

    def closes_the_terminal(self) -> None:
        """Close the terminal with all that runs in it, and open another."""
        ok(self._tmux("respawn-pane", "-k", "-t", "person", "env", "-u", "TMUX", "bash"))

    def sees(self, text: str) -> bool:
        """Return whether a text appears on the screen."""
        return poll(lambda: text in self.screen() or None, Deadline(20), 0.1) is not None

    def leaves(self, *keys: str) -> bool:
        """Press keys, again while they have no effect, until the shell is back."""

        def is_back() -> bool | None:
            if ok(self._tmux("display-message", "-p", "-t", "person", "#{pane_current_command}")) == "bash\n":
                return True
            self.types(*keys)
            return None

        return poll(is_back, Deadline(20), 1.0) is not None

    def screen(self) -> str:
        """Return what the terminal shows."""
        return ok(self._tmux("capture-pane", "-p", "-t", "person"))

    def _tmux(self, *words: str) -> CompletedProcess[str]:
        return self._home.run("tmux", "-L", "person", *words)
