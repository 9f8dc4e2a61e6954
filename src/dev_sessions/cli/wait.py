"""`wait`: until a turn has ended, or a goal."""

from __future__ import annotations

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.params import interval_option, session_argument, timeout_option
from dev_sessions.operations import Wait

#: The exit code of a wait for a session that asks something.
WAITING_FOR_INPUT = 3


@click.command("wait")
@session_argument
@timeout_option
@interval_option
@click.option("--goal", is_flag=True, help="Until the goal has ended (Codex); prints its status.")
@click.option("--next-turn", is_flag=True, help="Until a turn has ended from now on, whoever begins it (Codex).")
@click.pass_obj
def wait_command(
    application: Application, session_id: str, timeout: float, interval: float | None, goal: bool, next_turn: bool
) -> int:
    """Wait until the turn of the last message has ended; prints completed.

    Exits 1 when the turn failed or was interrupted, 3 (and prints waiting_for_input) when the session asks
    something, 124 after the timeout: the same wait can then be run again.

    A session with a goal goes on by itself: then it is the end of the goal's turns. --goal prints what became of the
    goal (complete, paused, blocked, usageLimited, budgetLimited, or cleared) and exits 0 whatever that is; 1 when
    the goal is active but nothing works on it any more.

    \b
    Example: dev-sessions wait fizz-top --timeout 1800 && dev-sessions last-message fizz-top
             test "$(dev-sessions wait fizz-top --goal --timeout 7200)" = complete
    """
    if goal and next_turn:
        raise click.UsageError("use only one of --goal and --next-turn")
    request = Wait(session_id=session_id, timeout=timeout, interval=interval, goal=goal, next_turn=next_turn)
    result = application.execute(request)
    if result.outcome == "waiting_for_input":
        click.echo(result.outcome)
        return WAITING_FOR_INPUT
    if goal:
        click.echo(result.goal.status if result.goal is not None else "cleared")
    else:
        click.echo(result.outcome)
    return 0
