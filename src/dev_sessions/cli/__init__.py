"""The command line: the command table, loaded lazily, and the one place where errors become exit codes."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from dev_sessions import __version__
from dev_sessions.errors import DevSessionsError

if TYPE_CHECKING:
    from dev_sessions.cli.app import Application

#: Command -> the module below `cli` that defines it, under the same name with underscores.
COMMANDS = {
    "create": "create",
    "send": "send",
    "ask": "send",
    "wait": "wait",
    "last-message": "read",
    "status": "read",
    "logs": "read",
    "inspect": "read",
    "list": "listing",
    "goal": "goal",
    "respond": "respond",
    "interrupt": "respond",
    "attach": "attach",
    "kill": "kill",
    "gateway": "gateway",
    "recover": "recover",
    "install-skill": "install_skill",
    "doctor": "doctor",
    "completion": "completion",
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"dev_sessions.cli.{COMMANDS[cmd_name]}")
        command = getattr(module, cmd_name.replace("-", "_") + "_command")
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Spawn coding-agent sessions (Claude Code, Codex), give them work and read what they say.

    \b
    sid=$(dev-sessions create -q)
    dev-sessions send $sid "run the tests and fix the failures"
    dev-sessions wait $sid
    dev-sessions last-message $sid
    """
    if context.obj is None:
        from dev_sessions.cli.app import Application

        context.obj = Application()


def main() -> NoReturn:
    """The `dev-sessions` command."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            # A lone surrogate becomes \\udXXX, which in JSON is what it was.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr] # in the suppress
    # Ended from outside, what is under way is undone like on Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str], application: Application | None = None) -> int:
    """Run one command line and give its exit code; what went wrong stands on stderr, in one line.

    `application` None: the one of this machine, made when a command is about to run.
    """
    try:
        code: Any = cli.main(args=arguments, prog_name="dev-sessions", standalone_mode=False, obj=application)
        print(end="", flush=True)  # a reader that has gone away is noticed here, not at exit
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "dev-sessions"
        click.echo(f"Error: {error.format_message()} (see {path} --help)", err=True)
        return 2
    except (KeyboardInterrupt, click.Abort):
        return 130
    except DevSessionsError as error:
        click.echo(str(error), err=True)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has read enough. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (OSError, TimeoutError) as error:
        click.echo(f"{error}", err=True)
        return 1
    return code if isinstance(code, int) else 0


def _end(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
