"""The size of a session's window while a command reads it or types into it, on a tmux server without an agent."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev_sessions.claude.tmux import Tmux
from dev_sessions.claude.window_size import WindowSize
from dev_sessions.system.file_locks import locked


class Window:
    """A window of two panes on a server of its own: Claude's, and one in which a person works."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o700)
        self.tmux = Tmux(str(folder / "s"))
        self._run("new-session", "-d", "-x", "20", "-y", "10", "cat")
        self.pane = self._run("display-message", "-p", "#{pane_id}")
        # As a terminal of that size would have left it.
        self._run("set-option", "-w", "-u", "window-size")

    def _run(self, *words: str) -> str:
        argv = ["tmux", "-f", "/dev/null", "-S", str(self.tmux.socket), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout.strip()

    def split(self) -> str:
        """Split the window, and return the new pane, which is the active one."""
        self._run("split-window", "-h", "-t", self.pane, "cat")
        return self._run("display-message", "-p", "#{pane_id}")

    def break_off(self) -> None:
        """Move Claude's pane into a window of its own."""
        self._run("break-pane", "-d", "-s", self.pane)

    def zoom(self, pane: str) -> None:
        """Zoom a pane."""
        self._run("resize-pane", "-Z", "-t", pane)

    def fix(self, size: str) -> None:
        """Set the value of `window-size` that the window has for itself."""
        self._run("set-option", "-w", "-t", self.pane, "window-size", size)

    def resize(self, columns: int, rows: int) -> None:
        """Give the window a size."""
        self._run("resize-window", "-t", self.pane, "-x", str(columns), "-y", str(rows))

    def look(self) -> str:
        """Return all that a person sees or has set of the window, and the size of Claude's pane."""
        shown = (
            "#{window_width}x#{window_height} #{window_layout} #{window_zoomed_flag} #{P:#{?pane_active,#{pane_id},}}"
        )
        own = self._run("show-options", "-w", "-t", self.pane, "window-size")
        return f"{self._run('display-message', '-p', '-t', self.pane, shown)} {own}"

    def active(self) -> str:
        """Return the active pane, which gets what a person types."""
        return self._run("display-message", "-p", "#{pane_id}")

    def fit(self, size: WindowSize) -> bool:
        """Have a command look at Claude's pane; return whether it was enlarged."""
        snapshot = self.tmux.snapshot(self.pane)
        assert snapshot is not None
        return size.fit(snapshot, self.tmux, self.pane)

    def size(self) -> tuple[int, int]:
        """Return the columns and rows of Claude's pane."""
        snapshot = self.tmux.snapshot(self.pane)
        assert snapshot is not None
        return snapshot.width, snapshot.height

    def close(self) -> None:
        """End the server."""
        self._run("kill-server")


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Window]:
    """Provide a window of 20 columns and 10 rows."""
    window = Window(tmp_path)
    yield window
    window.close()


@pytest.mark.parametrize("panes", ["split", "other zoomed", "own zoomed"])
def test_a_window_is_afterwards_as_it_was(window: Window, panes: str) -> None:
    """The panes, their layout, the active and the zoomed one are the same after a command has enlarged the window."""
    other = window.split()
    if panes != "split":
        window.zoom(other if panes == "other zoomed" else window.pane)
    window.fix("manual")
    before, active = window.look(), window.active()
    for columns in (201, 202):
        size = WindowSize()
        assert window.fit(size)
        assert window.active() == active, "a person goes on typing into the pane in which they were"
        assert window.size()[0] >= columns
        assert window.size()[1] >= 50
        size.restore()
        assert window.look() == before


def test_a_window_that_is_broken_up_meanwhile_is_restored(window: Window) -> None:
    """A person who moves Claude's pane away while its window is enlarged gets the other panes back as they were."""
    other = window.split()
    window.fix("manual")
    size = WindowSize()
    assert window.fit(size)
    window.break_off()
    size.restore()
    left = window.tmux.snapshot(other)
    assert left is not None
    assert (left.width, left.height, left.is_enlarged) == (20, 10, False)


def test_a_killed_command_leaves_nothing_for_long(window: Window) -> None:
    """What a killed command has enlarged is restored by the next one that looks at it."""
    window.split()
    window.fix("manual")
    before = window.look()
    assert window.fit(WindowSize())
    size = WindowSize()
    window.fit(size)
    size.restore()
    assert window.look() == before


def test_a_window_is_enlarged_by_one_command_at_a_time(window: Window, tmp_path: Path) -> None:
    """While a message is being sent, a command that only reads leaves the size as it is."""
    lock = tmp_path / "lock"
    with locked(lock, 0):
        assert not window.fit(WindowSize(lock))
    assert window.size() == (20, 10)
    size = WindowSize(lock)
    assert window.fit(size)
    with pytest.raises(TimeoutError), locked(lock, 0):
        pass
    size.restore()
    with locked(lock, 0):
        pass


def test_a_window_that_can_not_be_enlarged_can_be_read(window: Window, tmp_path: Path) -> None:
    """Without the folder of the lock, or a pane that tmux knows, a command reads the screen as it is."""
    assert not window.fit(WindowSize(tmp_path / "missing" / "lock"))
    snapshot = window.tmux.snapshot(window.pane)
    assert snapshot is not None
    size = WindowSize()
    assert not size.fit(snapshot, window.tmux, "%77")
    size.restore()
    assert window.size() == (20, 10)


def test_a_window_that_is_large_enough_is_left_alone(window: Window) -> None:
    """At 40 columns and 12 rows nothing is changed."""
    window.resize(40, 12)
    before = window.look()
    size = WindowSize()
    assert not window.fit(size)
    size.restore()
    assert window.look() == before
