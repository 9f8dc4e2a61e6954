"""Answer as the scripted model: take a conversation and return the next step. Nothing here does I/O.

The last user message is the script of its turn. Its first word, in any case, says what happens:

    say TEXT                        TEXT, exactly
    after SECONDS SCRIPT            SCRIPT, whose first byte comes SECONDS later
    when NAME SCRIPT                SCRIPT, whose first byte comes when the test has allowed NAME
    drip SECONDS SCRIPT             SCRIPT, whose text comes in small pieces, spread over SECONDS
    trail SECONDS SCRIPT            a message ends SECONDS after the calls in it (Claude)
    run COMMAND                     one shell tool call, then `ran: OUTPUT`
    steps [CALL, CALL, …]           each CALL, a command or [NAME, JSON], in a message of its own once the one before
                                    has ended, then `steps: RESULT | RESULT`; the id that one of them printed as
                                    `Created session ID` replaces `fizz-top` in those behind it, and that of a
                                    process that runs on replaces "SESSION" (Codex)
    runs COMMAND ;; COMMAND         both calls in one message, then `ran: OUTPUT | OUTPUT`
    say-then-run TEXT ;; COMMAND    TEXT and a call in one message, then `done: OUTPUT`
    say-then TEXT ;; SCRIPT         TEXT in front of the calls of SCRIPT, in one message
    tool NAME JSON                  a call of any tool with this input (Claude), then `used: OUTPUT`
    tools [[NAME, JSON], …]         several such calls in one message, then `used: OUTPUT | OUTPUT`
    background COMMAND              a shell call that runs on behind the turn (Claude), then `started`
    ask QUESTION | OPTION | OPTION  a question to the user, then `answered: ANSWER`; several are separated by ;;, and
                                    one that starts with [any] takes several answers
    subagent SCRIPT                 a subagent that works behind the turn (Claude), then `started`, and when it has
                                    ended `background work done`
    plan TEXT                       a plan that the user has to approve (Claude), then `planned`
    call TOOL JSON                  a call of any other tool of the agent (Claude), then `called: RESULT`
    fail CODE                       an HTTP error, for every retry too
    fail limit SECONDS              the HTTP error of a plan that is used up for SECONDS
    fail context                    the HTTP error of a conversation that is too long
    size N                          N characters, the last three being END
    history                         every earlier user message but Claude's own, numbered, one per line
    hang                            no answer, ever
    (Claude's /compact SCRIPT)      SCRIPT, as the summary of the conversation

A few plain English requests work as well, so that the examples of the README run on this model and on a live
one: `Reply with exactly: TEXT`, `reply with just TEXT`, `Remember the number N` and `Which number did I ask you to
remember?`.
Anything else is echoed.

A goal of Codex is scripted by its objective: `work N turns` takes N turns, `after SECONDS work N turns` N such turns
of SECONDS each, `when NAME work N turns` N that wait until NAME is allowed, any other objective one turn. With
`, then SCRIPT` behind it the Nth turn plays SCRIPT and the goal goes on for one turn more; with `, then give up` it
ends as blocked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

PIECES_PER_DRIP = 20
PIECE_CHARACTERS = 2000
#: What Claude Code 2.1.250 says by itself in a conversation that it resumes if the transcript has the last reply before
#: its prompt, as happens when both are written at the same time; 2.1.332 does not.
_CONTINUE = "Continue from where you left off."


@dataclass(frozen=True)
class User:
    """A text of the user, as the model sees it."""

    text: str


@dataclass(frozen=True)
class Result:
    """The result of a tool call. The ids of calls grow, so they order the calls."""

    text: str
    call_id: str


@dataclass(frozen=True)
class Goal:
    """Codex's request to its model to continue its goal."""

    objective: str


@dataclass(frozen=True)
class Shell:
    """A call of the agent's shell tool."""

    command: str
    background: bool = False


@dataclass(frozen=True)
class Question:
    """A question to the user; `multiple` if several options may be chosen."""

    text: str
    options: tuple[str, ...]
    multiple: bool = False


@dataclass(frozen=True)
class Ask:
    """A call of the agent's tool for asking its user."""

    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Subagent:
    """A call of Claude's tool that gives work to a subagent; its prompt is a script, too."""

    script: str


@dataclass(frozen=True)
class Plan:
    """A call of Claude's tool that ends planning; the user has to approve."""

    text: str


@dataclass(frozen=True)
class Tool:
    """A call of any tool of Claude's, with its arguments as JSON."""

    name: str
    arguments: str


@dataclass(frozen=True)
class FinishGoal:
    """A call of the tool by which Codex's model declares its goal to have ended."""

    status: str = "complete"


Call: TypeAlias = Shell | Ask | FinishGoal | Subagent | Plan | Tool


@dataclass(frozen=True)
class Reply:
    """A message of the assistant: a text, tool calls, or a text followed by tool calls."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    delay: float = 0.0
    drip: float = 0.0
    trail: float | None = None

    def pieces(self) -> list[str]:
        """Return the text in the pieces in which it is streamed; with `drip`, even a short text comes in several."""
        size = max(1, len(self.text) // PIECES_PER_DRIP) if self.drip else PIECE_CHARACTERS
        return [self.text[at : at + size] for at in range(0, len(self.text), size)]


@dataclass(frozen=True)
class Failure:
    """An HTTP error in place of an answer, of a kind that each API marks in its own way."""

    status: int
    kind: Literal["", "usage limit", "context"] = ""
    resets_in: int = 0

    @property
    def message(self) -> str:
        """Return the text of the error's body."""
        return f"scripted failure {self.status}"


@dataclass(frozen=True)
class Silence:
    """No answer until the client gives up or the server stops."""


@dataclass(frozen=True)
class Gated:
    """A step that is withheld until the test allows `name`."""

    name: str
    step: Reply | Failure | Silence


Item = User | Goal | Result
Step = Reply | Failure | Silence | Gated


@dataclass(frozen=True)
class Turn:
    """The input of a rule: the user's earlier messages, and the results of the tools in this turn so far."""

    earlier: Sequence[str]
    results: Sequence[str]


Rule = Callable[..., Step]
_RULES: list[tuple[re.Pattern[str], Rule]] = []
_GATE = re.compile(r"when (?P<name>\w+) (?P<script>.*)", re.DOTALL | re.IGNORECASE)


def next_step(conversation: Sequence[Item]) -> Step:
    """Return the model's next step in this conversation."""
    asked = [at for at, item in enumerate(conversation) if not isinstance(item, Result)]
    if not asked:
        return Reply("echo: ")
    latest, results = conversation[asked[-1]], _results(conversation[asked[-1] :])
    if isinstance(latest, Goal):
        return _pursue(latest.objective, conversation.count(latest), results)
    texts = [own_words(item.text) for item in conversation if isinstance(item, User)]
    return _play(texts[-1], Turn(earlier=texts[:-1], results=results))


def own_words(text: str) -> str:
    """Return the user's words without the wrapping around them: our line above a long message, Claude Code's mark of a
    paste (2.1.328 and newer), its notice that they came in mid-turn or from another session, the line above a skill."""
    text = re.sub(r"^What follows is my own message[^\n]*:\n", "", text)
    text = re.sub(r"(?s)\s*<pasted_content id=\"(\w+)\">\n(.*)\n</pasted_content id=\"\1\">\s*", r"\2", text)
    text = re.sub(r"^Base directory for this skill: [^\n]*\n\n", "", text)
    text = re.sub(r"(?s)Another Claude session sent .*?<cross-session-message [^>]*>\n(.*)\n</cross-.*", r"\1", text)
    return re.sub(
        r"(?s)(?:<system-reminder>\n)?The user sent [^\n]*:\n(.*)\n\n(?:This is|Please|IMPORTANT:) .*", r"\1", text
    )


def _results(turn: Sequence[Item]) -> list[str]:
    """Return the results in the order of their calls; parallel calls report in the order in which they ended."""
    results = [item for item in turn if isinstance(item, Result)]
    return [result.text for result in sorted(results, key=lambda result: result.call_id)]


def _pursue(objective: str, number: int, results: Sequence[str]) -> Step:
    if match := _GATE.fullmatch(objective):
        return _gated(match["name"], _pursue(match["script"], number, results), results)
    match = re.match(r"(?is)(?:after ([\d.]+) )?work (\d+) turns?(?:, then (.*))?", objective)
    delay, count, script = (float(match[1] or 0), int(match[2]), match[3]) if match else (0.0, 1, None)
    if number < count:
        return Reply(f"goal turn {number}", delay=delay)
    if number == count and script == "give up":
        return Reply("goal given up") if results else Reply(calls=(FinishGoal("blocked"),), delay=delay)
    if number == count and script is not None:
        return _play(script, Turn(earlier=(), results=results))
    return Reply("goal complete") if results else Reply(calls=(FinishGoal(),), delay=delay)


def _play(script: str, turn: Turn) -> Step:
    for pattern, rule in _RULES:
        if match := pattern.fullmatch(script):
            return rule(turn, **match.groupdict())
    return Reply(f"echo: {script}")


def _rule(pattern: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _RULES.append((re.compile(rf"\s*{pattern}", re.DOTALL | re.IGNORECASE), rule))
        return rule

    return register


@_rule(r"say\s(?P<text>.*)")
def _say(_: Turn, text: str) -> Step:
    return Reply(text)


@_rule(r"after (?P<seconds>[\d.]+) (?P<script>.*)")
def _after(turn: Turn, seconds: str, script: str) -> Step:
    step = _play(script, turn)
    return replace(step, delay=float(seconds)) if isinstance(step, Reply) and not turn.results else step


@_rule(_GATE.pattern)
def _when(turn: Turn, name: str, script: str) -> Step:
    return _gated(name, _play(script, turn), turn.results)


def _gated(name: str, step: Step, results: Sequence[str]) -> Step:
    return step if results or isinstance(step, Gated) else Gated(name, step)


@_rule(r"drip (?P<seconds>[\d.]+) (?P<script>.*)")
def _drip(turn: Turn, seconds: str, script: str) -> Step:
    step = _play(script, turn)
    return replace(step, drip=float(seconds)) if isinstance(step, Reply) and not turn.results else step


@_rule(r"trail (?P<seconds>[\d.]+) (?P<script>.*)")
def _trail(turn: Turn, seconds: str, script: str) -> Step:
    step = _play(script, turn)
    return replace(step, trail=float(seconds)) if isinstance(step, Reply) and step.calls else step


@_rule(r"run (?P<command>.*)")
def _run(turn: Turn, command: str) -> Step:
    return _shell(turn, command)


@_rule(r"runs (?P<commands>.*)")
def _runs(turn: Turn, commands: str) -> Step:
    return _shell(turn, *(command.strip() for command in commands.split(";;")))


def _shell(turn: Turn, *commands: str) -> Step:
    if turn.results:
        return Reply("ran: " + " | ".join(turn.results))
    return Reply(calls=tuple(Shell(command) for command in commands))


@_rule(r"steps (?P<calls>\[.*\])")
def _steps(turn: Turn, calls: str) -> Step:
    planned = json.loads(calls)
    if len(turn.results) >= len(planned):
        return Reply("steps: " + " | ".join(turn.results))
    created = re.search(r"Created session (\S+)", "\n".join(turn.results))
    text = json.dumps(planned[len(turn.results)]).replace("fizz-top", created[1] if created else "fizz-top")
    running = re.search(r"^session (\d+)", turn.results[-1] if turn.results else "")
    call = json.loads(text.replace('"SESSION"', running[1] if running else "0"))
    return Reply(calls=(Shell(call) if isinstance(call, str) else Tool(call[0], json.dumps(call[1])),))


@_rule(r"say-then-run (?P<text>.*?) ;; (?P<command>.*)")
def _say_then_run(turn: Turn, text: str, command: str) -> Step:
    if turn.results:
        return Reply("done: " + " | ".join(turn.results))
    return Reply(text, calls=(Shell(command),))


@_rule(r"say-then (?P<text>.*?) ;; (?P<script>.*)")
def _say_then(turn: Turn, text: str, script: str) -> Step:
    step = _play(script, turn)
    return replace(step, text=text) if isinstance(step, Reply) and step.calls else step


@_rule(r"tool (?P<name>\w+) (?P<arguments>.*)")
def _tool(turn: Turn, name: str, arguments: str) -> Step:
    return Reply("used: " + " | ".join(turn.results)) if turn.results else Reply(calls=(Tool(name, arguments),))


@_rule(r"tools (?P<calls>\[.*\])")
def _tools(turn: Turn, calls: str) -> Step:
    if turn.results:
        return Reply("used: " + " | ".join(turn.results))
    return Reply(calls=tuple(Tool(name, json.dumps(arguments)) for name, arguments in json.loads(calls)))


@_rule(r"background (?P<command>.*)")
def _background(turn: Turn, command: str) -> Step:
    return Reply("started") if turn.results else Reply(calls=(Shell(command, background=True),))


@_rule(r"ask (?P<questions>[^|]+\|.*)")
def _ask(turn: Turn, questions: str) -> Step:
    if turn.results:
        return Reply("answered: " + " | ".join(turn.results))
    return Reply(calls=(Ask(tuple(_question(text) for text in questions.split(";;"))),))


def _question(text: str) -> Question:
    question, *options = (part.strip() for part in text.split("|"))
    return Question(question.removeprefix("[any]").strip(), tuple(options), question.startswith("[any]"))


@_rule(r"subagent (?P<script>.*)")
def _subagent(turn: Turn, script: str) -> Step:
    return Reply("started") if turn.results else Reply(calls=(Subagent(script),))


@_rule(r"<task-notification>.*")
def _notification(_: Turn) -> Step:
    return Reply("background work done")


@_rule(r"plan (?P<text>.*)")
def _plan(turn: Turn, text: str) -> Step:
    return Reply("planned: " + " | ".join(turn.results)) if turn.results else Reply(calls=(Plan(text),))


@_rule(r"call (?P<name>\w+) (?P<arguments>\{.*\})")
def _call(turn: Turn, name: str, arguments: str) -> Step:
    return Reply("called: " + " | ".join(turn.results)) if turn.results else Reply(calls=(Tool(name, arguments),))


@_rule(r"fail (?P<status>\d{3})\s*")
def _fail(_: Turn, status: str) -> Step:
    return Failure(int(status))


@_rule(r"fail limit (?P<seconds>\d+)\s*")
def _fail_limit(_: Turn, seconds: str) -> Step:
    return Failure(429, "usage limit", int(seconds))


@_rule(r"fail context\s*")
def _fail_context(_: Turn) -> Step:
    return Failure(400, "context")


@_rule(r"size (?P<count>\d+)\s*")
def _size(_: Turn, count: str) -> Step:
    end, filler = "END", "0123456789"
    missing = max(0, int(count) - len(end))
    return Reply((filler * (missing // len(filler) + 1))[:missing] + end)


@_rule(r"history\s*")
def _history(turn: Turn) -> Step:
    texts = (text.removesuffix("\n") for text in turn.earlier if text != _CONTINUE)
    return Reply("\n".join(f"{number}: {text}" for number, text in enumerate(texts, 1)))


@_rule(r"hang\s*")
def _hang(_: Turn) -> Step:
    return Silence()


@_rule(r"CRITICAL: Respond with TEXT ONLY\..*\nAdditional Instructions:\n(?P<script>.*?)\n\nREMINDER:.*")
def _compact(turn: Turn, script: str) -> Step:
    return _play(script, turn)


@_rule(r"remember the number \d+.*")
def _remember(_: Turn) -> Step:
    return Reply("OK")


@_rule(r"which number did I ask you to remember\b.*")
def _recall(turn: Turn) -> Step:
    numbers = re.findall(r"(?i)remember the number (\d+)", "\n".join(turn.earlier))
    return Reply(numbers[-1] if numbers else "I was not told a number")


@_rule(r"(?:please )?reply with (?:exactly:|just) (?P<text>.*)")
def _reply_with(_: Turn, text: str) -> Step:
    return Reply(text)
