"""`wait`: wait for turns or goals to end."""

from __future__ import annotations

import click

from dev_sessions.cli import completers
from dev_sessions.cli.app import Application
from dev_sessions.cli.mine import mine_option, my_sessions, require_others
from dev_sessions.cli.params import (
    interval_option,
    json_option,
    quiet_option,
    through_limits_option,
    timeout_option,
)
from dev_sessions.cli.progress import show_next_step, waiting_for
from dev_sessions.cli.wait_many import Waited, print_as_they_end, print_first, print_json, waiting
from dev_sessions.errors import InvalidRequest
from dev_sessions.operations import Wait
from dev_sessions.system import caller


@click.command("wait")
@click.argument("session_ids", metavar="[ID...]", nargs=-1, shell_complete=completers.session_ids)
@timeout_option
@interval_option
@mine_option
@click.option("--any", "any_one", is_flag=True, help="Return when the first session is done, and print its id.")
@click.option("--goal", is_flag=True, help="Wait for the goal to end, and print its status (Codex).")
@click.option("--next-turn", is_flag=True, help="Wait for the next turn to end, whoever started it (Codex).")
@through_limits_option
@json_option
@quiet_option
@click.pass_obj
def wait_command(
    application: Application,
    session_ids: tuple[str, ...],
    timeout: float,
    interval: float | None,
    mine: bool,
    any_one: bool,
    goal: bool,
    next_turn: bool,
    through_limits: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Wait for the turn of the last message to end.

    \b
    Exit codes:
      0    the turn has ended (prints completed)
      1    the turn failed or was interrupted, or another error
      3    the session asks something (prints waiting_for_input)
      124  timeout; the same wait can be run again

    For several sessions, prints the id and outcome of each as it ends, and exits with the highest of their exit codes.
    --any returns with the first one, however it ended; after the timeout, it prints nothing. --mine waits for those
    that the calling agent created; kill each that you are done with, so that the next wait --mine --any returns with
    another.

    --json prints an object for each of several sessions, on a line of its own as it ends, and for one session an array
    with its object: id, outcome (completed, waiting_for_input, failed, timed_out, not_found; with --goal the goal's
    status), exitCode, and elapsedMs or error with reason (see below) and, after a usage limit, resetsAt and continuesAt
    if the agent reports them.

    The error of a failed turn begins with its reason: usage_limit, rate_limit, overloaded, auth, billing, model,
    context, output_limit, policy, network, hook, interrupted, died, invalid_request or unknown.

    After a usage limit of its plan, Claude Code continues the turn by itself, a minute or two after continuesAt. Until
    then wait fails at once with usage_limit; with --through-limits, or begun after that, it waits for the end of the
    continued turn (give a --timeout long enough). Codex does not continue by itself.

    On a terminal, progress is shown on standard error.

    A session with a goal continues by itself, so wait returns when the goal's turns have ended. --goal prints the
    goal's final status (complete, paused, blocked, usageLimited, budgetLimited, or cleared) and exits 0 whatever it
    is, or 1 if the goal is active but nothing works on it any more.

    \b
    Example: dev-sessions wait fizz-top --timeout 1800
             first=$(dev-sessions wait --any fizz-top zed-mid vi-jg)
             test "$(dev-sessions wait fizz-top --goal)" = complete
    """
    if goal and next_turn:
        raise click.UsageError("use only one of --goal and --next-turn")
    if any_one and as_json:
        raise click.UsageError("--any prints an id alone: use it without --json")
    if mine == bool(session_ids):
        raise click.UsageError("name the sessions, or use --mine")
    if mine:
        session_ids = tuple(row.session.id for row in my_sessions(application))
        if not session_ids:
            raise InvalidRequest("No session that the caller created is running; create one: dev-sessions create")
    order = tuple(dict.fromkeys(session_ids))
    require_others(order, "wait")
    requests = [
        Wait(
            session_id=session_id,
            timeout=timeout,
            interval=interval,
            goal=goal,
            next_turn=next_turn,
            through_limits=through_limits,
            caller=caller.session_id(),
        )
        for session_id in order
    ]
    if len(requests) == 1 and not any_one and not as_json:
        with waiting_for(application, order, quiet=quiet):
            done = Waited(requests[0], application.execute(requests[0]))
        click.echo(done.label)
        show_next_step(done.label, order[0], quiet=quiet)
        return done.exit_code
    with waiting_for(application, order, quiet=quiet) as line, waiting(application, requests) as all_ended:
        ended = line.hidden_between(all_ended)
        if any_one:
            return print_first(ended, order)
        return print_json(ended, len(order)) if as_json else print_as_they_end(ended)
