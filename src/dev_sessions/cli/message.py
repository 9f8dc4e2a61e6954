"""The arguments of the commands that take a text: on the command line, from a file, or on standard input."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from typing import Any

import click

from dev_sessions.cli.completers import files
from dev_sessions.errors import InvalidRequest

#: The text that stands for what is read from standard input.
STDIN = "-"
#: Maximum bytes of a message; agents accept some MB.
MAX_MESSAGE = 32 * 1024 * 1024
_DASH_HINT = "pass a text that starts with a dash after -- or with --file -"
#: The key of the arguments of a message command in its context.
_GIVEN = f"{__name__}.given"


class MessageCommand(click.Command):
    """A command that takes a text as an argument; its errors say how to pass one that starts with a dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_GIVEN] = tuple(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            close = f"; did you mean {' or '.join(sorted(error.possibilities))}?" if error.possibilities else ""
            raise click.UsageError(f"No such option: {error.option_name}{close} ({_DASH_HINT})", ctx) from error


def message_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments for the message of `send` and `ask`: a text, a file, or standard input."""
    command = click.option(
        "-f", "--file", metavar="PATH", shell_complete=files, help="Read the message from a file, - for stdin."
    )(command)
    return click.argument("message", metavar="[MESSAGE]", required=False)(command)


def read_message(message: str | None, file: str | None, what: str = "message") -> str:
    """Return the message given as text or as a file, `-` being standard input. `what` names it in errors.

    Raises InvalidRequest.
    """
    if message is not None and file is not None:
        raise InvalidRequest(f"Provide either <{what}> or --file, not both")
    if message == STDIN:
        message, file = None, STDIN
    text = message if file is None else _read_text(file, what)
    if text is None or not text.strip():
        hint = " To send what is piped in, use --file -." if text is None and _is_piped() else ""
        raise InvalidRequest(f"{what.capitalize()} is required. Use <{what}> or --file <path>.{hint}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"The {what} is not UTF-8 text (at character {error.start}); convert it first") from error
    return text


def _is_piped() -> bool:
    """Return whether standard input is a pipe or a file. An agent's shell may keep one open that never ends."""
    mode = os.fstat(0).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _read_text(file: str, what: str) -> str:
    name = "Standard input" if file == STDIN else file
    try:
        if file != STDIN:
            with open(file, "rb") as stream:  # a pipe too, as from <(…)
                data = stream.read(MAX_MESSAGE + 1)
        elif sys.stdin is None:
            raise InvalidRequest(f"Standard input is closed, so there is no {what} to read from it; use --file PATH")
        else:
            data = sys.stdin.buffer.read(MAX_MESSAGE + 1)
        if len(data) > MAX_MESSAGE:
            raise InvalidRequest(f"{name} is larger than {MAX_MESSAGE} bytes; give its path in a short {what} instead")
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name} is not UTF-8 text (at byte {error.start}); convert it first") from error
    except OSError as error:
        given = click.get_current_context().meta[_GIVEN]
        # "-first point" was taken for -f.
        is_path = file in given or f"--file={file}" in given
        advice = "; check the path" if is_path else f" ({_DASH_HINT})"
        raise InvalidRequest(f"Cannot read {name}: {error.strerror}{advice}") from error
