"""Transcripts that were damaged, cut off, replaced or written by a wrong clock: a right answer or a clear error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dev_sessions.claude.message_text import digest
from dev_sessions.claude.transcript import parse
from dev_sessions.jsonl import CUT, LONGEST_LINE, lines_backward
from dev_sessions.models import timestamp
from dev_sessions.system.process import start_time
from tests.support.cli import create, ok
from tests.support.home import Home

pytestmark = pytest.mark.forked

HOUR = 3600.0
#: Runs a command from a process so small that its memory is no part of the figure; prints the peak in KiB.
PEAK = (
    "import os, sys\n"
    "pid = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:])\n"
    "_, status, usage = os.wait4(pid, 0)\n"
    "print('peak', usage.ru_maxrss // (1024 if sys.platform == 'darwin' else 1), file=sys.stderr)\n"
    "sys.exit(os.waitstatus_to_exitcode(status))"
)


class StandIn:
    """A session whose process does nothing, with the session file and the transcript of a Claude that has answered a
    message."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.process = home.popen("sleep", "1000")
        self.uuid = "514e2e88-e842-440b-8cf3-c963095457ee"
        self.transcript = home.path / ".claude" / "projects" / "-w" / f"{self.uuid}.jsonl"
        self.transcript.parent.mkdir(parents=True)
        self.sent = time.time() - 60
        self.lines(self.said("user", "before", -60), self.end(-59))
        self.remember(self.transcript.stat().st_size)
        self.idle(3)
        self.lines(self.said("user", "say hello", 1), self.said("assistant", "hello", 2), self.end(2.1))

    def at(self, seconds: float) -> str:
        """Return the timestamp this many seconds after the send."""
        return timestamp(self.sent + seconds)

    def said(self, role: str, text: str, seconds: float) -> dict[str, Any]:
        """Return a line of a conversation."""
        content = text if role == "user" else [{"type": "text", "text": text}]
        message = {"role": role, "content": content, **({"stop_reason": "end_turn"} if role == "assistant" else {})}
        return {"isSidechain": False, "type": role, "message": message, "timestamp": self.at(seconds)}

    def end(self, seconds: float) -> dict[str, Any]:
        """Return the mark of the end of a turn."""
        return {"type": "system", "subtype": "turn_duration", "timestamp": self.at(seconds)}

    def lines(self, *lines: dict[str, Any] | bytes, torn: bytes = b"") -> None:
        """Append to the transcript."""
        with open(self.transcript, "ab") as stream:
            for line in lines:
                stream.write(line if isinstance(line, bytes) else json.dumps(line).encode())
                stream.write(b"\n")
            stream.write(torn)

    def idle(self, seconds: float, status: str = "idle") -> None:
        """Write the session file of an idle Claude, this many seconds after the send."""
        file = self.home.path / ".claude" / "sessions" / f"{self.process.pid}.json"
        file.parent.mkdir(exist_ok=True)
        started = {"procStart": start_time(self.process.pid)} if sys.platform == "linux" else {}
        fields = {
            "pid": self.process.pid,
            "sessionId": self.uuid,
            "version": "2.1.330",
            "startedAt": (self.sent - 100) * 1000,
            "status": status,
            "statusUpdatedAt": (self.sent + seconds) * 1000,
        }
        file.write_text(json.dumps({**fields, **started}))

    def remember(self, offset: int) -> None:
        """Write the record of the session, and of a send of `say hello`."""
        record = {
            "championId": "fizz-top",
            "internalId": self.uuid,
            "cli": "claude",
            "mode": "native",
            "path": str(self.home.path),
            "status": "active",
            "createdAt": self.at(-100),
            "lastUsed": self.at(0),
            "claudePid": self.process.pid,
            "claudeProcStart": start_time(self.process.pid),
            "claudeSendDigest": digest("say hello"),
            "claudeSendTranscript": self.uuid,
            "claudeSendOffset": offset,
            "claudeSendProcess": start_time(self.process.pid),
        }
        store = self.home.path / ".dev-sessions" / "sessions.json"
        store.parent.mkdir(mode=0o700, exist_ok=True)
        store.write_text(json.dumps({"version": 1, "sessions": [record]}))

    def all_is_well(self, *said: str) -> None:
        """Assert that every reading command gives the right answer."""
        assert ok(self.home.cli("status", "fizz-top", timeout=10)) == "idle\n"
        assert ok(self.home.cli("wait", "fizz-top", "-t", "20", timeout=30)) == "completed\n"
        assert ok(self.home.cli("last-message", "fizz-top", timeout=10)) == "hello\n"
        logs = json.loads(ok(self.home.cli("logs", "fizz-top", "--json", timeout=30)))
        assert [turn["text"] for turn in logs] == list(said or ("before", "say hello", "hello"))


@pytest.fixture
def stand_in(home: Home) -> StandIn:
    """Provide a session that has answered."""
    return StandIn(home)


def torn(one: StandIn) -> None:
    """Append an incomplete line, as when the machine loses power during a write."""
    one.lines(torn=b'{"type":"assistant","message":{"role":"assistant","content":[{"type":"te')


def garbage(one: StandIn) -> None:
    """Add bytes of something else, and lines that have the form of a transcript but not its content."""
    one.lines(b"\x00" * 5000, os.urandom(3000).replace(b"\n", b""), b'{"type": "user", "message": 7}', b"[" * 5000)
    one.lines(b'{"type": "assistant", "timestamp": "soon", "message": ["assistant"]}')
    one.lines(
        b'{"type": "user", "timestamp": 5, "message": {"role": "user", "content": [{"type": "text", "text": 5}]}}'
    )


def moved(one: StandIn) -> None:
    """Move the transcript elsewhere, and leave a link in its place."""
    elsewhere = one.home.path / "elsewhere.jsonl"
    shutil.move(one.transcript, elsewhere)
    one.transcript.symlink_to(elsewhere)


def copied(one: StandIn) -> None:
    """Replace the transcript by a copy of itself."""
    copy = one.home.path / "copy.jsonl"
    shutil.copy(one.transcript, copy)
    copy.replace(one.transcript)


@pytest.mark.parametrize("damage", [torn, garbage, moved, copied])
def test_what_does_not_matter_is_passed_over(stand_in: StandIn, damage: Callable[[StandIn], None]) -> None:
    """A torn line, garbage, a link and a copy change no answer."""
    damage(stand_in)
    stand_in.all_is_well()


def test_what_was_cut_off_before_the_message_does_not_hide_it(stand_in: StandIn) -> None:
    """A transcript that has lost its beginning, so that it is shorter or another file, is read by its times."""
    rest = stand_in.transcript.read_bytes().split(b"\n", 2)[2]
    stand_in.transcript.write_bytes(rest)
    stand_in.all_is_well("say hello", "hello")
    other = stand_in.home.path / "other.jsonl"
    other.write_bytes(json.dumps(stand_in.said("user", "x" * 5000, -50)).encode() + b"\n" + rest)
    other.replace(stand_in.transcript)
    stand_in.all_is_well("x" * 5000, "say hello", "hello")


def test_a_wait_follows_a_transcript_that_is_cut_off_or_replaced_meanwhile(stand_in: StandIn) -> None:
    """A wait ends with the turn in the new file if the transcript is cut off or replaced in the meantime."""
    for change in ("cut off", "replaced"):
        stand_in.transcript.write_text("")
        stand_in.lines(stand_in.said("user", "before", -60), stand_in.end(-59))
        stand_in.remember(stand_in.transcript.stat().st_size)
        stand_in.idle(1, "busy")
        stand_in.lines(stand_in.said("user", "say hello", 1))
        wait = stand_in.home.popen("dev-sessions", "wait", "fizz-top", "-t", "60")
        # It has the transcript open by now, or opens it late: either way the answer is the same.
        with pytest.raises(subprocess.TimeoutExpired):
            wait.wait(0.7)
        if change == "cut off":
            stand_in.transcript.write_text("")
        else:
            other = stand_in.home.path / "other.jsonl"
            other.write_text(json.dumps(stand_in.said("user", "y" * 9000, -50)) + "\n")
            other.replace(stand_in.transcript)
        stand_in.lines(stand_in.said("user", "say hello", 1), stand_in.said("assistant", "hello", 2), stand_in.end(2.1))
        stand_in.idle(3)
        assert wait.communicate(timeout=30) == ("completed\n", "")


def test_the_end_of_the_turn_before_is_not_that_of_the_message(stand_in: StandIn) -> None:
    """If the turn before ended while a message was typed, the session works until the turn of the message has ended."""
    stand_in.sent = time.time() - 3
    stand_in.transcript.write_text("")
    stand_in.lines(stand_in.said("user", "before", -60), stand_in.end(0.2))
    stand_in.remember(stand_in.transcript.stat().st_size)
    stand_in.idle(0.2)
    stand_in.lines(stand_in.said("user", "say hello", 0.5))
    assert ok(stand_in.home.cli("status", "fizz-top", timeout=10)) == "working\n"
    stand_in.lines(stand_in.said("assistant", "hello", 1), stand_in.end(1.1))
    stand_in.idle(1.2)
    stand_in.all_is_well()


def starts_a_subagent(stand_in: StandIn, result: dict[str, Any]) -> None:
    """Write a turn whose call of a subagent has this result."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "Agent", "input": {"description": "d", "prompt": "p"}}
    asked, answered = stand_in.said("assistant", "", 1), stand_in.said("user", "", 1.1)
    asked["message"] |= {"content": [call], "stop_reason": "tool_use"}
    answered["message"]["content"] = [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "words", **result}]
    stand_in.transcript.write_text("")
    stand_in.remember(0)
    stand_in.lines(stand_in.said("user", "say hello", 0.5), asked, answered)
    stand_in.lines(stand_in.said("assistant", "started", 1.2), stand_in.end(1.3))
    stand_in.idle(1.4)


def test_the_report_of_a_subagent_may_come_late(stand_in: StandIn) -> None:
    """A turn that started a subagent goes on until Claude has answered its report, however long a busy Claude is idle
    before that."""
    starts_a_subagent(stand_in, {})
    wait = stand_in.home.popen("dev-sessions", "wait", "fizz-top", "-t", "60")
    with pytest.raises(subprocess.TimeoutExpired):
        wait.wait(4)
    report = "<task-notification>\n<tool-use-id>toolu_1</tool-use-id>\n</task-notification>"
    begins = {**stand_in.said("user", report, 3), "origin": {"kind": "task-notification"}}
    stand_in.lines(begins, stand_in.said("assistant", "hello", 4), stand_in.end(4.1))
    stand_in.idle(4.2)
    assert wait.communicate(timeout=30) == ("completed\n", "")
    assert ok(stand_in.home.cli("last-message", "fizz-top", timeout=10)) == "hello\n"


def test_a_subagent_that_could_not_start_holds_up_nothing(stand_in: StandIn) -> None:
    """A turn whose call of a subagent failed ends at its mark."""
    starts_a_subagent(stand_in, {"is_error": True})
    assert ok(stand_in.home.cli("wait", "fizz-top", "-t", "5")) == "completed\n"
    assert ok(stand_in.home.cli("last-message", "fizz-top", timeout=10)) == "started\n"


@pytest.mark.parametrize("what", ["gone", "a folder", "a pipe"])
def test_a_missing_transcript_is_reported(stand_in: StandIn, what: str) -> None:
    """A missing transcript, or a folder or pipe in its place, is an immediate error that names it, not an empty
    conversation."""
    stand_in.transcript.unlink()
    if what == "a folder":
        stand_in.transcript.mkdir()
    if what == "a pipe":
        os.mkfifo(stand_in.transcript)
    for command in ("last-message", "logs"):
        done = stand_in.home.cli(command, "fizz-top", timeout=10)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"The transcript of fizz-top is missing: {stand_in.uuid}.jsonl" in done.stderr
    assert ok(stand_in.home.cli("status", "fizz-top", timeout=10)) == "idle\n"
    done = stand_in.home.cli("wait", "fizz-top", timeout=10)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the message is not in the transcript" in done.stderr


@pytest.mark.parametrize("back", [5.0, HOUR])
def test_a_clock_that_is_set_back_does_not_hide_an_end(stand_in: StandIn, back: float) -> None:
    """A turn that ended by a clock set back after the message has ended, and the logs keep their order."""
    stand_in.transcript.write_text("")
    stand_in.lines(stand_in.said("user", "before", -60), stand_in.end(-59))
    stand_in.remember(stand_in.transcript.stat().st_size)
    stand_in.lines(stand_in.said("user", "say hello", 1))
    stand_in.lines(stand_in.said("assistant", "hello", 2 - back), stand_in.end(2.1 - back))
    stand_in.idle(2.2 - back)
    long_ago = time.time() - 30
    os.utime(stand_in.transcript, (long_ago, long_ago))
    assert ok(stand_in.home.cli("status", "fizz-top")) == "idle\n"
    assert ok(stand_in.home.cli("wait", "fizz-top", "-t", "5")) == "completed\n"
    assert ok(stand_in.home.cli("last-message", "fizz-top")) == "hello\n"
    if back == HOUR:
        logs = json.loads(ok(stand_in.home.cli("logs", "fizz-top", "--json")))
        assert [turn["text"] for turn in logs] == ["before", "say hello", "hello"]


def test_a_message_by_a_clock_that_was_set_back_is_of_the_living_process(stand_in: StandIn) -> None:
    """A Claude that by its own clock began after its message is not taken for dead."""
    stand_in.sent -= HOUR
    stand_in.transcript.write_text("")
    stand_in.lines(stand_in.said("user", "before", -60), stand_in.end(-59))
    stand_in.remember(stand_in.transcript.stat().st_size)
    stand_in.lines(stand_in.said("user", "say hello", 1))
    stand_in.sent += 2 * HOUR
    stand_in.idle(1, "busy")
    done = stand_in.home.cli("wait", "fizz-top", "-t", "1")
    assert (done.returncode, done.stderr) == (124, "Timed out waiting for fizz-top\n")
    assert ok(stand_in.home.cli("status", "fizz-top")) == "working\n"


def peak(home: Home, *command: str) -> tuple[str, int]:
    """Return a command's output, and its peak memory in MiB."""
    done = home.run(sys.executable, "-I", "-S", "-c", PEAK, sys.executable, "-m", "dev_sessions", *command)
    assert done.returncode == 0, done.stderr
    return done.stdout, int(done.stderr.split("peak ")[1]) // 1024


@pytest.mark.parametrize("complete", [True, False], ids=["complete", "torn"])
def test_a_line_of_a_hundred_megabytes_takes_no_memory(stand_in: StandIn, complete: bool) -> None:
    """status, wait, last-message and logs read a line of 100 MB in no more than 45 MiB of memory."""
    stand_in.transcript.write_text("")
    stand_in.lines(stand_in.said("user", "before", -60), stand_in.end(-59))
    stand_in.remember(stand_in.transcript.stat().st_size)
    stand_in.lines(stand_in.said("user", "say hello", 1))
    with open(stand_in.transcript, "ab") as stream:
        stream.write(b'{"type":"user","message":{"role":"user","content":[{"tool_use_id":"t1","content":"')
        for _ in range(100):
            stream.write(b"x" * 1_000_000)
        if complete:
            stream.write(b'"}]},"timestamp":"' + stand_in.at(1.5).encode() + b'"}\n')
    if complete:
        stand_in.lines(stand_in.said("assistant", "hello", 2), stand_in.end(2.1))
    expected = {"status": "idle\n", "last-message": "hello\n", "wait": "completed\n"}
    expected["logs"] = "[HUMAN]\nbefore\n\n[HUMAN]\nsay hello\n\n[ASSISTANT]\nhello\n"
    if not complete:
        # A line that never ends: nothing behind it was said, and Claude works on.
        stand_in.idle(1, "busy")
        expected = {"status": "working\n", "last-message": "\n"}
    figures = {}
    for command, printed in expected.items():
        output, figures[command] = peak(stand_in.home, command, "fizz-top")
        assert output == (printed if printed.strip() else "")
    assert max(figures.values()) <= 45, figures


@pytest.mark.parametrize(
    "options", [pytest.param((), id="text", marks=pytest.mark.matrix), pytest.param(("--json",), id="json")]
)
def test_a_long_conversation_is_printed_in_little_memory(stand_in: StandIn, options: tuple[str, ...]) -> None:
    """`logs` prints forty megabytes completely in no more than 45 MiB of memory."""
    count, text = 20_000, "x" * 2000
    stand_in.transcript.write_text("")
    stand_in.lines(*(stand_in.said("assistant", f"{number} {text}", number) for number in range(count)))
    output, memory = peak(stand_in.home, "logs", "fizz-top", *options)
    if options:
        texts = [turn["text"] for turn in json.loads(output)]
    else:
        texts = [paragraph.removeprefix("[ASSISTANT]\n") for paragraph in output.rstrip("\n").split("\n\n")]
    assert texts == [f"{number} {text}" for number in range(count)]
    assert memory <= 45


def test_the_ends_of_a_long_line_identify_it(tmp_path: Path) -> None:
    """The two ends of a long line are enough to know a tool's call, or a message's author and time."""

    def cut(beginning: str, end: str) -> bytes:
        file = tmp_path / "line"
        file.write_bytes(beginning.encode() + b"x" * LONGEST_LINE + end.encode() + b"\n")
        (line,) = lines_backward(file)
        assert line.count(CUT) == 1
        return line

    at = '"timestamp":"2026-01-02T03:04:05.678Z"'
    result = parse(cut('{"type":"user","message":{"content":[{"tool_use_id":"t1","content":"', f'"}}]}},{at}}}'))
    assert (result.kind, result.tool_results, result.at) == ("tool_result", ("t1",), "2026-01-02T03:04:05.678Z")
    assert parse(cut('{"type":"user","message":{"role":"user","content":"', f'"}},{at}}}')).kind == "prompt"
    end = f'"}}],"stop_reason":"end_turn"}},"type":"assistant",{at}}}'
    reply = parse(cut('{"message":{"role":"assistant","content":[{"type":"text","text":"', end))
    assert (reply.kind, reply.stop_reason) == ("reply", "end_turn")
    for other in (
        '{"type":"api-request","body":{"role":"user","content":"',
        '{"isSidechain":true,"type":"user","message":"',
    ):
        assert parse(cut(other, f'",{at}}}')).kind == "other"


def test_claude_goes_on_with_a_transcript_that_was_damaged_underneath(home: Home) -> None:
    """The next message arrives and is answered after the transcript was emptied, replaced, linked or removed."""
    sid = create(home, "claude")
    ok(home.cli("ask", sid, "say first"))
    internal_id = json.loads(ok(home.cli("inspect", sid)))["internalId"]
    (transcript,) = (home.path / ".claude" / "projects").rglob(f"{internal_id}.jsonl")
    transcript.write_text("")
    assert ok(home.cli("ask", sid, "say emptied", timeout=30)) == "emptied\n"
    shutil.copy(transcript, home.path / "copy")
    (home.path / "copy").replace(transcript)
    assert ok(home.cli("ask", sid, "say replaced", timeout=30)) == "replaced\n"
    shutil.move(transcript, home.path / "elsewhere")
    transcript.symlink_to(home.path / "elsewhere")
    assert ok(home.cli("ask", sid, "say linked", timeout=30)) == "linked\n"
    transcript.unlink()
    assert ok(home.cli("ask", sid, "say removed", timeout=30)) == "removed\n"
    with open(transcript, "ab") as stream:
        stream.write(b"\x00\xff garbage\n" + b'{"x":"' + b"x" * 8_000_000 + b'"}\n')
    assert ok(home.cli("ask", sid, "say after garbage", timeout=30)) == "after garbage\n"
    assert ok(home.cli("status", sid)) == "idle\n"
