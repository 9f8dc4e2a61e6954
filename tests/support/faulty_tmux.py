"""A tmux on PATH that fails in a given way at a given call, and is the real one otherwise."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tests.support.home import Home

#: What a call does: nothing, and says that it failed; nothing, for ever; its work, and then it fails, is killed or
#: hangs; its work when its server, which is stopped right before, goes on; its work less the Enter at its end; its work
#: right after a person at the terminal pressed keys.
Fault: TypeAlias = Literal[
    "fails", "hangs", "works, fails", "works, dies", "works, hangs", "server stops", "no Enter", "after keys"
]

_PROGRAM = """\
#!{python} -ES
import fcntl, json, os, re, signal, subprocess, sys, time
with open({state!r} + ".lock", "w") as lock:
    # An agent whose start was given up may end its pane at the same time.
    fcntl.flock(lock, fcntl.LOCK_EX)
    with open({state!r}) as file:
        state = json.load(file)
    state["calls"].append(sys.argv[1:])
    with open({state!r} + ".new", "w") as file:
        json.dump(state, file)
    os.replace({state!r} + ".new", {state!r})
argv = [{tmux!r}, *sys.argv[1:]]
lines = [" ".join(call) for call in state["calls"]]
# The whole name: tmux may be asked about a command by its full one.
matches = [bool(re.search(state["word"] + r"(?![\\w-])", line)) for line in lines]
is_at = matches[-1] and sum(matches) == state["at"]
fault = state["fault"] if is_at else ""
if fault == "no Enter":
    argv = argv[: argv.index("send-key") - 1]
elif fault == "after keys":
    at = argv.index("if-shel")
    target = argv[argv.index("-t", at) + 1]
    argv[at:at] = ["send-keys", "-t", target, *state["keys"], ";"]
elif fault == "server stops":
    os.kill(state["server"], signal.SIGSTOP)
elif fault.startswith("works"):
    subprocess.run(argv, stdout=subprocess.DEVNULL)
if fault.endswith("fails"):
    sys.exit("tmux: no luck")
if fault.endswith("dies"):
    os.kill(os.getpid(), signal.SIGKILL)
if fault.endswith("hangs"):
    time.sleep(1000)
os.execv(argv[0], argv)
"""


class FaultyTmux:
    """The faulty tmux, installed in its own folder of a home. `env` puts it on PATH."""

    def __init__(self, home: Home, server: int) -> None:
        folder = home.workspace("faulty tmux")
        self._state = folder / "state.json"
        self._server = server
        real = shutil.which("tmux", path=home.env["PATH"])
        program = folder / "tmux"
        program.write_text(_PROGRAM.format(python=sys.executable, state=str(self._state), tmux=real))
        program.chmod(0o755)
        self.env: Mapping[str, str] = {"PATH": f"{folder}{os.pathsep}{home.env['PATH']}"}
        self.arm("fails", 0)

    def arm(self, fault: Fault, at: int, word: str = "", keys: Sequence[str] = ()) -> None:
        """Have the call number `at` from now on fail, of those with a command in it; 0 for none. `keys` are a
        person's."""
        # Names of commands are given to tmux without their last letter.
        state: dict[str, Any] = {"fault": fault, "at": at, "word": word[:-1]}
        state |= {"keys": list(keys), "server": self._server}
        state["calls"] = []
        with Path(f"{self._state}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._state.write_text(json.dumps(state))

    def calls(self) -> list[str]:
        """Return the calls since the fault was armed."""
        return [" ".join(call) for call in json.loads(self._state.read_text())["calls"]]

    def has_failed(self) -> bool:
        """Return whether the fault occurred."""
        state = json.loads(self._state.read_text())
        pattern = re.compile(state["word"] + r"(?![\w-])")
        return sum(bool(pattern.search(call)) for call in self.calls()) >= int(state["at"]) > 0
