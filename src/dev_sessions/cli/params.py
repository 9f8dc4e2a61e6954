"""Arguments that several commands share: sessions, messages, seconds, durations, --json."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dev_sessions.cli.complete import files, session_ids
from dev_sessions.deadline import duration
from dev_sessions.errors import InvalidRequest
from dev_sessions.operations import DEFAULT_TIMEOUT

_DASH_HINT = "a text that starts with a dash goes after -- or through --file -"


class MessageCommand(click.Command):
    """A command with a text among its arguments; says how to pass one that starts with a dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(f"No such option: {error.option_name} ({_DASH_HINT})", ctx) from error


def seconds_callback(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    """Callback of an option that takes a number of seconds, more than none."""
    if value is not None and not 0 < value < float("inf"):
        raise click.BadParameter(f"{value:g} is not a number of seconds above 0")
    return value


def duration_text(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Callback of an option that takes a duration; it stays the text that it is."""
    try:
        if value is not None:
            duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return value


session_argument = click.argument("session_id", metavar="ID", shell_complete=session_ids)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
timeout_option = click.option(
    "-t",
    "--timeout",
    metavar="SECONDS",
    type=float,
    callback=seconds_callback,
    default=DEFAULT_TIMEOUT,
    help=f"Give up after so many seconds, with exit code 124.  [default: {DEFAULT_TIMEOUT:g}]",
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show nothing on the terminal meanwhile.")
interval_option = click.option(
    "-i",
    "--interval",
    metavar="SECONDS",
    type=float,
    callback=seconds_callback,
    help="Look at most so often, where something is looked at.",
)


def message_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    """The message of `send` and `ask`: an argument, a file, or standard input."""
    command = click.option(
        "-f", "--file", metavar="PATH", shell_complete=files, help="Read the message from a file, - for stdin."
    )(command)
    return click.argument("message", metavar="[MESSAGE]", required=False)(command)


def read_message(message: str | None, file: str | None, what: str = "message") -> str:
    """The one message that was given; `what` is its name. InvalidRequest says what is wrong with it."""
    if message is not None and file is not None:
        raise InvalidRequest(f"Provide either <{what}> or --file, not both")
    text = message if file is None else _read_text(file, what)
    if text is None or not text.strip():
        raise InvalidRequest(f"{what.capitalize()} is required. Use <{what}> or --file <path>.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"The {what} is not UTF-8 text (at character {error.start}); convert it first") from error
    return text


def _read_text(file: str, what: str) -> str:
    name = "Standard input" if file == "-" else file
    try:
        if file != "-":
            data = Path(file).read_bytes()
        elif sys.stdin is None:
            raise InvalidRequest(f"Standard input is closed, so there is no {what} to read from it")
        else:
            data = sys.stdin.buffer.read()
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name} is not UTF-8 text (at byte {error.start}); convert it first") from error
    except OSError as error:
        raise InvalidRequest(f"Cannot read {name}: {error.strerror} ({_DASH_HINT})") from error
