"""`completion`: shell completion of commands, options and session ids."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM = "dev-sessions"
#: With this variable set, the program answers a shell (click's protocol).
VARIABLE = "_DEV_SESSIONS_COMPLETE"

#: click's own is for bash 4.4 and newer only; macOS has 3.2, without `nosort` and `compopt`.
_BASH = """\
_dev_sessions_completion() {
    local IFS=$'\\n' offer
    COMPREPLY=()
    for offer in $(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %s=bash_complete "$1"); do
        case $offer in
            plain,*) COMPREPLY+=("${offer#plain,}") ;;
            dir,*) compopt -o dirnames 2>/dev/null ;;
            file,*) compopt -o default 2>/dev/null ;;
        esac
    done
}
complete -o nosort -F _dev_sessions_completion %s 2>/dev/null || complete -F _dev_sessions_completion %s
""" % (VARIABLE, PROGRAM, PROGRAM)  # noqa: UP031 - braces and dollars are the shell's


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print the shell completion script.

    Load it in ~/.bashrc or ~/.zshrc (after compinit), or save it to a file for fish.

    \b
    Example: eval "$(dev-sessions completion bash)"
             eval "$(dev-sessions completion zsh)"
             dev-sessions completion fish > \\
               ~/.config/fish/completions/dev-sessions.fish
    """
    if shell == "bash":
        click.echo(_BASH, nl=False)
        return
    kind = get_completion_class(shell)
    assert kind is not None, "click knows them all"
    completer = kind(context.find_root().command, {}, PROGRAM, VARIABLE)
    click.echo(completer.source())
