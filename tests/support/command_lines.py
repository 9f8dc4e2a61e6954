"""The command lines of `dev-sessions` in a text: found in its shell, and parsed without being run."""

from __future__ import annotations

import re
import shlex

import click

from dev_sessions.cli import cli

PROGRAM = "dev-sessions"
_FENCED = re.compile(r"^```(?:bash|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(rf"`({PROGRAM} [^`\n]+)`")
_HERE_DOCUMENT = re.compile(r"<<-?\s*(['\"]?)(\w+)\1(.*?)\n.*?^\2$", re.DOTALL | re.MULTILINE)
_BEFORE_A_COMMAND = re.compile(r"[A-Za-z_]\w*=.*|!|if|then|elif|else|while|until|do|time|exec")


def blocks(markdown: str) -> list[str]:
    """Return the shell code in a Markdown text: fenced blocks, and inline code that is a command."""
    return [*_FENCED.findall(markdown), *_INLINE.findall(_FENCED.sub("", markdown))]


def command_lines(shell: str) -> list[list[str]]:
    """Return the arguments of every call of the program in shell code. Variables stay unexpanded."""
    text = _HERE_DOCUMENT.sub(r"\3", shell.replace("\\\n", " "))
    return [arguments for line in text.splitlines() for arguments in _in_line(line)]


def parse(arguments: list[str]) -> None:
    """Parse the arguments of a command; raises click.UsageError if it does not accept them."""
    try:
        with cli.make_context(PROGRAM, list(arguments)) as context:
            name, command, rest = cli.resolve_command(context, list(arguments))
            assert command is not None
            command.make_context(name, rest, parent=context).close()
    except click.exceptions.Exit:
        pass  # --help, --version


def _in_line(line: str) -> list[list[str]]:
    # A number before a redirection belongs to it; the lexer takes it for a word.
    lexer = shlex.shlex(re.sub(r"(?<=\s)\d(?=[<>])", "", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = []
    words: list[str] = []
    is_target = False
    for token in [*lexer, ";"]:
        if is_target:
            is_target = False
        elif set(token) <= set("<>&") and set(token) & set("<>"):
            is_target = True
        elif set(token) <= set("();|&"):
            found += [words[1:]] if words[:1] == [PROGRAM] else []
            words = []
        elif words or not _BEFORE_A_COMMAND.fullmatch(token):
            words.append(token)
        # Within double quotes, the lexer leaves a command substitution in its word.
        if match := re.search(r"\$\((.*)\)", token):
            found += _in_line(match[1])
    return found
