"""`goal`: set, show and change the goal of a Codex session."""

from __future__ import annotations

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.completers import files
from dev_sessions.cli.message import MessageCommand, read_message
from dev_sessions.cli.params import json_option, session_argument
from dev_sessions.cli.render import goal as goal_text
from dev_sessions.cli.render import json_text
from dev_sessions.models import Goal, GoalChange
from dev_sessions.operations import ClearGoal, GetGoal, SetGoal
from dev_sessions.record_json import goal_to_json


@click.command("goal", cls=MessageCommand)
@session_argument
@click.argument("objective", metavar="[OBJECTIVE]...", nargs=-1)
@click.option(
    "--budget", metavar="TOKENS", type=click.IntRange(min=1), help="Stop after this many tokens.  [default: no limit]"
)
@click.option("-f", "--file", metavar="PATH", shell_complete=files, help="Read the objective from a file, - for stdin.")
@click.option("--pause", is_flag=True, help="Start no further turn; the running one continues to its end.")
@click.option("--resume", is_flag=True, help="Continue a goal that is paused, blocked, limited or idle.")
@click.option("--clear", is_flag=True, help="Remove the goal; the running turn continues to its end.")
@json_option
@click.pass_obj
def goal_command(
    application: Application,
    session_id: str,
    objective: tuple[str, ...],
    budget: int | None,
    file: str | None,
    pause: bool,
    resume: bool,
    clear: bool,
    as_json: bool,
) -> None:
    """Set or show the goal of a Codex session.

    Codex works on the objective at once, turn after turn, until it is done (complete) or cannot be done (blocked), or
    until the budget or your plan's usage limit is reached (budgetLimited, usageLimited). wait --goal waits for that.

    A new objective replaces that of a goal in progress. The words of an objective are joined by spaces; Codex accepts
    up to 4000 characters.

    \b
    Example: dev-sessions goal fizz-top --budget 2000000 "all unit tests pass"
             dev-sessions goal fizz-top --file plan.md
             dev-sessions goal fizz-top --pause
    """
    given = bool(objective) or file is not None
    if sum((pause, resume, clear)) > 1:
        raise click.UsageError("use only one of --pause, --resume and --clear")
    if given and (pause or resume or clear):
        raise click.UsageError("an objective cannot be combined with --pause, --resume and --clear")
    if clear and budget is not None:
        raise click.UsageError("use only one of --clear and --budget")
    if clear:
        cleared = application.execute(ClearGoal(session_id=session_id))
        text = f"Cleared goal for {session_id}" if cleared else f"No goal to clear for {session_id}"
        click.echo(json_text({"cleared": cleared}) if as_json else text)
        return
    goal: Goal | None
    if given:
        text = read_message(" ".join(objective) if objective else None, file, "objective").strip()
        goal = application.execute(SetGoal(session_id=session_id, objective=text, token_budget=budget))
    elif pause or resume or budget is not None:
        status: GoalChange | None = "paused" if pause else "active" if resume else None
        goal = application.execute(SetGoal(session_id=session_id, status=status, token_budget=budget))
    else:
        goal = application.execute(GetGoal(session_id=session_id))
    if as_json:
        click.echo(json_text(goal_to_json(goal) if goal is not None else None))
    else:
        click.echo(goal_text(goal) if goal is not None else f"No goal set for {session_id}")
