"""What a program in a tmux pane reads of a paste, on each version of tmux that is installed for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev_sessions.claude.pane_input import PaneInput
from dev_sessions.claude.tmux import Tmux
from dev_sessions.system.deadline import Deadline, poll
from tests.support.tmux_versions import installed

#: Writes all that it reads into the file of its first argument, once it reads every byte.
READER = """\
import os, sys, tty
tty.setraw(0)
with open(sys.argv[1], "wb", buffering=0) as file:
    while True:
        file.write(os.read(0, 65536))
"""
PIECES = "\x1b[200~one \\n ☃\rtwo\x1b[201~\x1b[200~three\x1b[201~"


@pytest.mark.parametrize("version", [*installed(), "on PATH"])
def test_several_short_pastes_arrive_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """The marks of a long message's pastes, and every character in it, reach the program on every version of tmux."""
    if version in installed():
        monkeypatch.setenv("PATH", os.pathsep.join([str(installed()[version].parent), os.environ["PATH"]]))
    tmp_path.chmod(0o700)
    seen, socket = tmp_path / "seen", str(tmp_path / "s")
    reader = [sys.executable, "-c", READER, str(seen)]
    subprocess.run(["tmux", "-f", "/dev/null", "-S", socket, "new-session", "-d", "-s", "x", "--", *reader], check=True)
    try:
        assert poll(lambda: seen.exists() or None, Deadline(30), 0.02)
        pane_input = PaneInput(Tmux(socket), "=x:", "buffer")
        pane_input.load(PIECES)
        pane_input.paste(enter=True, options=pane_input.raw_paste())
        assert poll(lambda: seen.read_bytes().endswith(b"\r") or None, Deadline(30), 0.02)
        assert seen.read_text() == PIECES.replace("\r", "\n") + "\n"
    finally:
        subprocess.run(["tmux", "-S", socket, "kill-server"], check=False)
