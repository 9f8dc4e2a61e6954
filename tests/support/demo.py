"""Runs the usage block of the README with the real agents, showing every command with its output.

`python -m tests.support.demo`: in a throw-away home, on the scripted model. With `--live`: in the user's own home,
with their logins, on a tmux server of its own. With `--record`: as the first, and writes the recording that the README
shows.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support import demo_svg
from tests.support.agents import ROOT, agent_bin
from tests.support.home import Home
from tests.support.model import ScriptedModel

_BLOCK = re.compile(r"<!-- tests/demo runs this block.*?-->\n```bash\n(.*?)```", re.DOTALL)
_EXPECTED = re.compile(r"\s+# prints (.*)$")
_MARK = "\x1e"
RECORDING = ROOT / "docs" / "demo.svg"


@dataclass(frozen=True)
class Command:
    """One line of the usage block: the command, its expected output (None: anything), and the comment above it."""

    line: str
    expected: str | None
    comment: str | None = None


def usage(readme: str) -> list[Command]:
    """Return the commands of the README's usage block. Pure."""
    block = _BLOCK.search(readme)
    if block is None:
        raise ValueError("the README has no usage block")
    commands: list[Command] = []
    comment = None
    for line in block[1].splitlines():
        if line.startswith("#"):
            comment = line
        elif line:
            expected = _EXPECTED.search(line)
            commands.append(Command(_EXPECTED.sub("", line), expected[1] if expected else None, comment))
            comment = None
    return commands


def run(commands: list[Command], directory: Path, env: Mapping[str, str]) -> list[str]:
    """Run commands in one shell, as a person would type them; what is wrong with what they print, if anything."""
    with subprocess.Popen(
        _shell(commands), cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout is not None
        outputs = _show(commands, shell.stdout)
    return _differences(commands, outputs, shell.returncode)


def record(commands: list[Command], directory: Path, env: Mapping[str, str], file: Path = RECORDING) -> list[str]:
    """Run commands as `run` does, but on a terminal, and write a recording if they print what they should."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (demo_svg.ROWS, demo_svg.COLUMNS))
    # Line feeds stay line feeds.
    attributes = termios.tcgetattr(follower)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(follower, termios.TCSANOW, attributes)
    with (
        subprocess.Popen(_shell(commands), cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=follower) as shell,
        open(leader, encoding="utf-8") as terminal,
    ):
        os.close(follower)
        outputs = _show(commands, _until_closed(terminal))
    if wrong := _differences(commands, outputs, shell.returncode):
        return wrong
    steps = [demo_svg.Step(c.comment, c.line, text.splitlines()) for c, text in zip(commands, outputs, strict=True)]
    file.write_text(demo_svg.drawn(steps), encoding="utf-8")
    print(f"\nWrote {file}.")
    return []


def _shell(commands: list[Command]) -> list[str]:
    """Return a command line that runs the commands one after the other, each after a mark on a line of its own."""
    return ["bash", "-c", "set -e\n" + "\n".join(f"printf '\\036\\n'; {command.line}" for command in commands)]


def _until_closed(terminal: Iterable[str]) -> Iterator[str]:
    """Yield what is printed on a terminal. Linux reports its end as an error."""
    with suppress(OSError):
        yield from terminal


def _show(commands: list[Command], lines: Iterable[str]) -> list[str]:
    """Print commands with their output as it comes, and return the output of each that was run."""
    outputs: list[str] = []
    for line in lines:
        if line == f"{_MARK}\n":
            print(f"\n$ {commands[len(outputs)].line}", flush=True)
            outputs.append("")
        else:
            print(line, end="", flush=True)
            outputs[-1] += line
    return outputs


def _differences(commands: list[Command], outputs: list[str], code: int) -> list[str]:
    """Return what the commands did otherwise than expected."""
    wrong: list[str] = []
    if code != 0:
        wrong.append(f"{commands[len(outputs) - 1].line}: exit code {code}")
    for command, output in zip(commands, outputs, strict=False):
        text = output.strip()
        if command.expected is not None and text != command.expected:
            wrong.append(f"{command.line}: printed {text!r}, not {command.expected!r}")
    return wrong


@contextmanager
def scripted() -> Iterator[tuple[Path, dict[str, str]]]:
    """Provide a throw-away home on the scripted model."""
    with ScriptedModel() as model, Home(model.port, launcher=True) as home:
        yield home.workspace("project"), home.env
        home.close()
        if left := home.leftovers():
            raise SystemExit(f"left running: {left}")


@contextmanager
def live() -> Iterator[tuple[Path, dict[str, str]]]:
    """Use the user's own home, with a separate tmux server; only the demo's own sessions are ended."""
    with ExitStack() as stack:
        private = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp")))
        project = private / "project"
        project.mkdir()
        own = [str(agent_bin(name)) for name in ("claude", "codex") if shutil.which(name) is None]
        # A folder of its own is nothing that anybody has to be asked about.
        env = {**os.environ, "TMUX_TMPDIR": str(private), "CLAUDE_CODE_SANDBOXED": "1"}
        env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"], *own])
        env.pop("TMUX", None)
        try:
            yield project, env
        finally:
            end_sessions_in(project, env)


def end_sessions_in(project: Path, env: Mapping[str, str]) -> None:
    """End the sessions that work in a folder: those that a failed run has left."""
    argv = [sys.executable, "-m", "dev_sessions"]
    listed = subprocess.run([*argv, "list", "--all", "--json"], env=env, capture_output=True, text=True, check=False)
    for record in json.loads(listed.stdout or "[]"):
        if record["path"] == str(project):
            subprocess.run([*argv, "kill", shlex.quote(record["championId"])], env=env, check=False)


def main(arguments: list[str]) -> int:
    """Run it; 0 when every command did what the README says."""
    if arguments not in ([], ["--live"], ["--record"]):
        print("tests/demo: it takes --no-install, then --live or --record", file=sys.stderr)
        return 2
    commands = usage((ROOT / "README.md").read_text(encoding="utf-8"))
    with live() if arguments == ["--live"] else scripted() as (directory, env):
        wrong = (record if arguments == ["--record"] else run)(commands, directory, env)
    for line in wrong:
        print(f"demo: {line}", file=sys.stderr)
    print(f"\n{'This is not what the README says.' if wrong else 'Everything did what the README says.'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
