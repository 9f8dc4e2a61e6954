"""The command line: the lazily loaded command table, and the boundary where errors become exit codes."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from dev_sessions import __version__
from dev_sessions.cli.output import OutputLost, error_text, prepare_streams
from dev_sessions.cli.signals import cancel_on_hangup, on_termination, report_exit
from dev_sessions.errors import DevSessionsError

if TYPE_CHECKING:
    from dev_sessions.cli.app import Application

#: Command -> the module in `cli` that defines it as `<name>_command`, dashes as underscores.
COMMANDS = {
    "run": "run_task",
    "create": "create",
    "fork": "fork",
    "send": "send",
    "ask": "send",
    "wait": "wait",
    "last-message": "read",
    "status": "read",
    "logs": "logs",
    "inspect": "read",
    "list": "listing",
    "goal": "goal",
    "respond": "respond",
    "interrupt": "interrupt",
    "attach": "attach",
    "kill": "kill",
    "gateway": "gateway",
    "recover": "recover",
    "whoami": "whoami",
    "install-skill": "install_skill",
    "doctor": "doctor",
    "completion": "completion",
}


#: The commands as the help groups them.
_GROUPS = {
    "Start and end sessions": ("run", "create", "fork", "kill", "recover"),
    "Send work and read replies": ("send", "ask", "wait", "last-message", "respond", "interrupt", "goal"),
    "See sessions": ("list", "status", "logs", "inspect", "attach", "whoami"),
    "Set up": ("install-skill", "doctor", "gateway", "completion"),
}
_EXIT_CODES = (
    ("0", "success"),
    ("1", "an error; for run, ask and wait also a turn that failed or was interrupted"),
    ("2", "an invalid command line"),
    ("3", "the session asks something (run, ask, wait)"),
    ("124", "timeout (run, ask, wait); the session works on"),
    ("130", "interrupted with Ctrl-C"),
    ("255", "the ssh connection to the session's machine failed"),
)

#: What other tools call some of the commands.
_SYNONYMS = {
    **dict.fromkeys(("new", "spawn", "start"), "create"),
    **dict.fromkeys(("message", "prompt", "tell"), "send"),
    **dict.fromkeys(("output", "read", "reply", "show"), "last-message"),
    **dict.fromkeys(("history", "log", "transcript"), "logs"),
    **dict.fromkeys(("ls", "ps", "sessions"), "list"),
    **dict.fromkeys(("info", "describe", "get"), "inspect"),
    **dict.fromkeys(("allow", "answer", "approve"), "respond"),
    **dict.fromkeys(("abort", "cancel", "pause"), "interrupt"),
    **dict.fromkeys(("connect", "open"), "attach"),
    **dict.fromkeys(("restart", "restore", "resume"), "recover"),
    **dict.fromkeys(("close", "delete", "end", "remove", "rm", "stop", "terminate"), "kill"),
}


def _printing(names: Sequence[str], text: Callable[[click.Context], str], description: str) -> click.Option:
    """Return an option that prints a text and ends.

    click's own ones translate their help, for which they load `locale` and search for catalogues, 1 ms per command.
    """

    def print_and_exit(context: click.Context, _: click.Parameter, given: bool) -> None:
        if given and not context.resilient_parsing:
            click.echo(text(context), color=context.color)
            context.exit()

    return click.Option(
        names, is_flag=True, is_eager=True, expose_value=False, callback=print_and_exit, help=description
    )


_HELP_OPTION = _printing(["-h", "--help"], click.Context.get_help, "Show this message and exit.")
_VERSION_OPTION = _printing(["--version"], lambda _: __version__, "Show the version and exit.")


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
        if _HELP_OPTION not in command.params:
            command.params.append(_HELP_OPTION)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in groups."""
        width = max(map(len, COMMANDS))
        for heading, names in _GROUPS.items():
            rows = []
            for name in names:
                command = self.get_command(ctx, name)
                assert command is not None
                rows.append((name.ljust(width), command.get_short_help_str(formatter.width - width - 6)))
            with formatter.section(heading):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the exit codes."""
        with formatter.section("Exit codes"):
            formatter.write_dl(_EXIT_CODES)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            meant = _SYNONYMS.get(args[0]) or next(iter(get_close_matches(args[0], COMMANDS, 1)), None)
            ctx.fail(f"No such command {args[0]!r}{f'; did you mean {meant}?' if meant else ''}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    # `color` keeps click from removing escape sequences from the agents' texts.
    params=[_VERSION_OPTION, _HELP_OPTION],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "color": True},
)
@click.pass_context
def cli(context: click.Context) -> None:
    """Start coding-agent sessions (Claude Code, Codex), send them work, wait for their turns and read the replies.

    \b
    dev-sessions run "run the tests and fix the failures"
    dev-sessions ask fizz-top "which of them was flaky?"
    dev-sessions kill fizz-top

    dev-sessions doctor checks the installation. Every command has examples: dev-sessions COMMAND --help.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)
    if context.obj is None:
        from dev_sessions.cli.app import Application

        context.obj = Application()


def main() -> NoReturn:
    """Run the `dev-sessions` command."""
    prepare_streams()
    # A signal unwinds the stack as Ctrl-C does, so that unfinished work is undone.
    on_termination(lambda number: sys.exit(128 + number))
    with cancel_on_hangup():
        code = run(sys.argv[1:])
    report_exit(code)
    # A last collection would find nothing that matters, in 2 ms.
    gc.freeze()
    sys.exit(code)


def run(arguments: list[str], application: Application | None = None) -> int:
    """Run one command line and return its exit code; an error is printed on stderr in one line.

    Without `application`, this machine's is created before the command runs.
    """
    try:
        code: Any = cli.main(args=_given(arguments), prog_name="dev-sessions", standalone_mode=False, obj=application)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "dev-sessions"
        text = " ".join(error.format_message().split()).removesuffix(".")
        return _fail(f"{text[:1].upper()}{text[1:]} (see {path} --help)", 2)
    except (KeyboardInterrupt, click.Abort) as interruption:
        _print_notes(interruption.__cause__ or interruption)
        return 130
    except SystemExit as end:
        _print_notes(end)
        raise
    except DevSessionsError as error:
        return _fail(error_text(error), error.exit_code)
    except OutputLost as error:
        # A closed pipe is not an error, as with `| head`; a full disk is.
        return 0 if error.errno == errno.EPIPE else _fail(f"Cannot write the output: {error.strerror}", 1)
    except (OSError, TimeoutError) as error:
        return _fail(str(error) if _has_folder() else "The current folder no longer exists; change to another one", 1)
    return code if isinstance(code, int) else 0


def _given(arguments: list[str]) -> list[str]:
    """Return the arguments of a command line, which another machine may pass on standard input."""
    if len(arguments) != 1 or not arguments[0].startswith("--"):  # as almost always
        return arguments
    from dev_sessions import arguments as on_stdin

    if arguments != [on_stdin.OPTION]:
        return arguments
    return on_stdin.read(sys.stdin.buffer if sys.stdin is not None else None)


def _has_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _fail(text: str, code: int) -> int:
    click.echo(text, err=True, color=True)
    return code


def _print_notes(end: BaseException) -> None:
    """Print the notes of an exception: the state in which an interrupted command left a delivery."""
    for note in getattr(end, "__notes__", ()):
        click.echo(note, err=True, color=True)
