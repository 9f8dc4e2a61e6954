"""The points at which a command may be ended: right before each thing that it does to the world outside.

Python tells of most by its audit events; the rest is wrapped. What a command only reads is no point. Since all that it
does is one, the moment after a thing is the moment before the next; only where the world goes on by itself meanwhile,
after a program was started and after a request was sent, there is a point of its own.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from dev_sessions.codex.websocket import WebSocket

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FILES = frozenset(
    {"os.mkdir", "os.rmdir", "os.remove", "os.rename", "os.chmod", "os.link", "os.symlink", "os.truncate"}
)
#: The commands of tmux that type, as tmux is given them: without their last letter.
_TYPING = ("set-buffe", "paste-buffe", "send-key", "if-shel")
#: What is asked again and again until something has happened: once is enough.
_ASKED_AGAIN = re.compile(r"tmux (display-messag|has-sessio|list-)|connect ")
#: What changes nothing.
_READS = re.compile(r"git (?!worktree (add|remove)|branch)")


class Points:
    """A counter of this process's points, which sends `number` to it right before point `at` (from 1 on).

    The name of each is written to `log` first.
    """

    def __init__(self, log: int, at: int | None, number: int) -> None:
        self._log, self._at, self._number = log, at, number
        self._asked: set[str] = set()
        self._count = 0
        self._busy = False
        # As they are before `watch` wraps them.
        self._write, self._kill = os.write, os.kill

    def reach(self, name: str) -> None:
        """Record a point."""
        if self._busy or name in self._asked or _READS.search(name):
            return
        if _ASKED_AGAIN.search(name):
            self._asked.add(name)
        self._busy = True
        self._count += 1
        self._write(self._log, f"{name}\n".encode())
        if self._count == self._at:
            self._kill(os.getpid(), self._number)
        self._busy = False

    def watch(self) -> None:
        """Count every point of this process from now on."""
        os.fsync = self._before(os.fsync, "fsync")
        os.write = self._before(os.write, "write to a program")
        start = subprocess.Popen.__init__
        end = subprocess.Popen.wait

        def started(child: Any, argv: Any, *args: Any, **options: Any) -> None:
            start(child, argv, *args, **options)
            self.reach(f"started {_words(argv)}")

        def ended(child: Any, *args: Any, **options: Any) -> Any:
            running = child.returncode is None
            code = end(child, *args, **options)
            if running:
                self.reach(f"ended {_words(child.args)}")
            return code

        send = WebSocket.send

        def sent(websocket: WebSocket, *texts: str) -> None:
            method = json.loads(texts[0]).get("method", "answer")
            self.reach(f"request {method}")
            send(websocket, *texts)
            self.reach(f"sent {method}")

        patch: Any = subprocess.Popen
        patch.__init__, patch.wait = started, ended
        patch = WebSocket
        patch.send = sent
        sys.addaudithook(self._hear)

    def _before(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(function)
        def wrapped(*args: Any, **options: Any) -> Any:
            self.reach(name)
            return function(*args, **options)

        return wrapped

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            # A folder is where a file without a name is opened, which nobody else sees.
            writes = isinstance(path, str | bytes) and flags & _WRITES and not os.path.isdir(path)
            if writes and os.fsdecode(path) != os.devnull:
                self.reach(f"open {_file(path)}")
        elif event in _FILES:
            self.reach(f"{event.removeprefix('os.')} {_file(args[0])}")
        elif event == "subprocess.Popen":
            self.reach(f"start {_words(args[1])}")
        elif event == "socket.connect":
            self.reach(f"connect {_file(args[1]) if args[0].family == socket.AF_UNIX else 'tcp'}")
        elif event in ("os.kill", "os.killpg"):
            self.reach(event.removeprefix("os."))
        elif event == "fcntl.flock":
            self.reach("flock")


def _file(path: object) -> str:
    """Return a file's name without the parts that change each time."""
    name = os.path.basename(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else "a descriptor"
    return re.sub(r"\d{3,}|[0-9a-f]{16}", "N", name)


def _words(argv: Any) -> str:
    """Return a command line as its program and subcommand: `tmux new-session`."""
    words = [os.fsdecode(word) for word in argv]
    program = os.path.basename(words[0])
    rest = [word for word in words[1:] if re.fullmatch(r"[a-z]+(-[a-z]+)*", word)]
    if rest[:1] == ["copy-mod"]:  # before each key or paste, the pane leaves the modes of tmux's own
        rest = [word for word in rest if word in _TYPING]
    return " ".join([program, *rest[: 2 if program == "git" else 1]])
