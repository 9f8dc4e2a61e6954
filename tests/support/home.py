"""A throw-away home: the real agents in it talk to the scripted model, and nothing of it outlives `close`."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from tests.support.agents import agent_bin, pinned, program_bin
from tests.support.darwin import is_simulated, simulation
from tests.support.processes import end_marked, marked

MARK = "DEV_SESSIONS_TEST_HOME"
#: Whether Claude's telemetry and other traffic are on in every home.
TELEMETRY = os.environ.get("DEV_SESSIONS_TEST_TELEMETRY") == "1"
API_KEY = "sk-ant-api03-made-up-for-the-scripted-model"
# The path of a unix socket has 104 bytes on macOS, and the tools under test put theirs some 50 below the home.
_LONGEST_BASE = 40


class Runner(Protocol):
    """A function that runs `dev-sessions` with arguments to its end (`tests.support.forks.ForkServer`)."""

    def run(
        self, argv: Sequence[str | Path], *, stdin: str, cwd: Path, timeout: float, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as `subprocess.run` does."""


class Home:
    """A home directory, the environment of a user who lives in it, and every process started in that environment.

    `trusted` and `bypass_accepted` say whether the user has answered Claude's questions about the folder and about
    its mode without permissions; without them Claude starts with a dialog. `versions` names agents to take in another
    version than the pinned one. `telemetry` leaves Claude's telemetry and other traffic on, as most users have it.
    `prefix` begins the name of the home.
    `launcher` has Codex started by npm's launcher, whose start takes a third of the CPU time of a server's.
    """

    def __init__(
        self,
        model_port: int,
        *,
        trusted: bool = True,
        bypass_accepted: bool = True,
        versions: Mapping[str, str] | None = None,
        telemetry: bool = TELEMETRY,
        prefix: str = "ds-",
        launcher: bool = False,
    ) -> None:
        self._versions = {**pinned(), **(versions or {})}
        of_agent = agent_bin if launcher else program_bin
        self._bins = [*(of_agent(name, version) for name, version in self._versions.items()), _python_bin()]
        self._children: list[subprocess.Popen[str]] = []
        #: Runs the commands of `cli`, instead of a new interpreter each time.
        self.runner: Runner | None = None
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=_base()))
        self.env = self._environment(model_port) | _traffic(model_port, telemetry=telemetry)
        self.configure_login_shells()
        self._configure_claude(trusted=trusted, bypass_accepted=bypass_accepted)
        self._configure_codex(model_port)
        self._write(".gitconfig", "[user]\n\tname = Test\n\temail = test@localhost\n[init]\n\tdefaultBranch = main\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def workspace(self, name: str = "workspace") -> Path:
        """Return a workspace directory, creating it if necessary. Claude trusts it as it trusts the home above it."""
        directory = self.path / name
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def run(
        self,
        *argv: str | Path,
        stdin: str | None = None,
        cwd: Path | None = None,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end. `env` is added to the home's environment."""
        return subprocess.run(
            argv,
            input="" if stdin is None else stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            cwd=cwd or self.path,
            env={**self.env, **(env or {})},
            timeout=timeout,
            check=False,
        )

    def cli(
        self,
        *args: str | Path,
        stdin: str | None = None,
        cwd: Path | None = None,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `dev-sessions` to its end."""
        if self.runner is not None:
            where, environment = cwd or self.path, {**self.env, **(env or {})}
            return self.runner.run(args, stdin=stdin or "", cwd=where, timeout=timeout, env=environment)
        argv = (sys.executable, "-m", "dev_sessions", *args)
        return self.run(*argv, stdin=stdin, cwd=cwd, timeout=timeout, env=env)

    def popen(
        self, *argv: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a program, with pipes to all its streams. `close` ends it if it still runs."""
        child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            cwd=cwd or self.path,
            env={**self.env, **(env or {})},
        )
        self._children.append(child)
        return child

    def tmux(self, *args: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a tmux command on the home's own server."""
        return self.run("tmux", *args, stdin=stdin, timeout=10)

    def leftovers(self) -> dict[int, str]:
        """Return the running processes of this home: their pids and command lines."""
        return marked(MARK, str(self.path))

    def close(self) -> None:
        """End every process of the home and remove it. Never raises; `leftovers` tells whether it succeeded."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            self.tmux("kill-server")
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            end_marked(MARK, str(self.path))
        for child in self._children:
            with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
                child.communicate(timeout=1)
        shutil.rmtree(self.path, ignore_errors=True)

    def _environment(self, model_port: int) -> dict[str, str]:
        """Build the environment from scratch, so that no variable of an agent that runs the tests, or of its tmux, gets
        in.

        IS_SANDBOX, which Claude needs when run as root, is left out: the tested program has to set it.
        """
        user = pwd.getpwuid(os.getuid()).pw_name
        environment = {
            MARK: str(self.path),
            "HOME": str(self.path),
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/bash",
            "PATH": os.pathsep.join([*map(str, self._bins), os.environ["PATH"]]),
            "LANG": "en_US.UTF-8" if sys.platform == "darwin" and not is_simulated() else "C.UTF-8",
            "TERM": "xterm-256color",
            "TMPDIR": str(self._private("tmp")),
            "TMUX_TMPDIR": str(self._private("tmux")),
            # Claude puts its sockets below the first of these, and its scratch files below the second.
            "XDG_RUNTIME_DIR": str(self._private("run")),
            "CLAUDE_CODE_TMPDIR": str(self._private("tmp")),
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{model_port}",
            "ANTHROPIC_API_KEY": API_KEY,
            "DISABLE_AUTOUPDATER": "1",
            # In a new home Claude (2.1.332) would fetch its plugins from GitHub, by git and ssh, at its first start.
            "CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL": "1",
            # Its engine need not optimise what runs for seconds: that takes a tenth of the CPU time of a start.
            "BUN_JSC_useDFGJIT": "0",
            # Nor collect its garbage with several threads, which wait for each other: that takes another tenth or two.
            "BUN_JSC_numberOfGCMarkers": "1",
        }
        return {**environment, **(simulation(environment) if is_simulated() else {})}

    def configure_login_shells(self) -> None:
        """Login shells set PATH anew from the system's files; these put ours back."""
        for name in (".bash_profile", ".profile", ".bashrc", ".zprofile"):
            self._write(name, f"export PATH={shlex.quote(self.env['PATH'])}\n")

    def _configure_claude(self, *, trusted: bool, bypass_accepted: bool) -> None:
        state: dict[str, Any] = {
            "hasCompletedOnboarding": True,
            "theme": "dark",
            "lastOnboardingVersion": self._versions["claude"],
            # Otherwise the first Claude of a home draws an animation (2.1.332), a tenth of the CPU time of its start.
            "lastClawdEntranceVersion": self._versions["claude"],
            "customApiKeyResponses": {"approved": [API_KEY[-20:]], "rejected": []},
        }
        settings: dict[str, Any] = {}
        if trusted:
            state["projects"] = {
                str(self.path): {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True},
            }
        if bypass_accepted:
            state["bypassPermissionsModeAccepted"] = True
            settings["skipDangerousModePermissionPrompt"] = True
        self._write(".claude.json", json.dumps(state))
        self._write(".claude/settings.json", json.dumps(settings))

    def _configure_codex(self, model_port: int) -> None:
        self._write(
            ".codex/config.toml",
            f"""\
model = "fake"
model_provider = "fake"

# Otherwise Codex (0.171.0) looks for its plugins on GitHub, by git, at each start of its server.
[features]
plugins = false

[model_providers.fake]
name = "fake"
base_url = "http://127.0.0.1:{model_port}/v1"
wire_api = "responses"
""",
        )

    def _private(self, name: str) -> Path:
        directory = self.path / name
        directory.mkdir(mode=0o700, exist_ok=True)
        return directory

    def _write(self, name: str, text: str) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _traffic(model_port: int, *, telemetry: bool) -> dict[str, str]:
    """Return the variables that switch Claude's traffic beside the model's off, or send it to the scripted model.

    With it Claude also has surveys, and messages between sessions, and different defaults of its feature flags.
    """
    if not telemetry:
        return {"DISABLE_TELEMETRY": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
    # All of it goes to fixed addresses over https, and so to the proxy, which refuses every connection.
    local = "localhost,127.0.0.1,::1"
    proxy = f"http://127.0.0.1:{model_port}"
    return {name: value for pair in (("HTTPS_PROXY", proxy), ("NO_PROXY", local)) for name, value in _both_cases(*pair)}


def _both_cases(name: str, value: str) -> list[tuple[str, str]]:
    """Return a variable in capital and in small letters, as programs look for either."""
    return [(name, value), (name.lower(), value)]


def _base() -> Path:
    """Return the system's folder for temporary files, or /tmp if its path is too long for sockets; without symlinks,
    because the agents name their files by real paths."""
    base = Path(tempfile.gettempdir()).resolve()
    return base if len(os.fsencode(base)) <= _LONGEST_BASE else Path("/tmp").resolve()


def _python_bin() -> Path:
    """Return the directory of `dev-sessions` for the interpreter that runs the tests."""
    return Path(sys.executable).parent
