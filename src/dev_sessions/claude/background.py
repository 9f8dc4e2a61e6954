"""Conversations that went on in Claude's background: ← on an empty box and /background move them there.

Claude's daemon runs each as a job: a process of its own with a session id of its own, whose first eight characters are
the job's id. Measured on 2.1.250, 2.1.300 and 2.1.332:

* After ← the process that the conversation left shows the agents view in its pane; Escape there has it show the job's
  terminal instead. Its session file keeps the old session id and has `parkedJobId`. /background ends the process.
* The session file of the job's process has `jobId`; `jobs/JOB/state.json` has the session id of the job's conversation,
  which changes with /clear, as `resumeSessionId`, and stays when the job is stopped.
* `daemon/attach-journal/*.json` names the processes that show a job's terminal, not which job's.
* The job's transcript is written with its next prompt, and begins with a copy of the old one. The old one ends with
  `continued-in` (not on 2.1.250); `daemon/roster.json` has its path as long as the job is not stopped.
* `daemon/roster.json` has each job's process from its start, before that writes its session file.
* `claude stop JOB` ends a job and keeps its conversation. The daemon starts a process again that was killed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dev_sessions.claude import environment, session_file
from dev_sessions.claude.pane import POLL_INTERVAL, AgentPane
from dev_sessions.claude.session_file import SessionFile
from dev_sessions.claude.transcript_file import find_transcript, moved_to
from dev_sessions.errors import MovedToBackground, ProtocolError
from dev_sessions.models import ClaudeSession
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.process import find_program, is_running, run_apart
from dev_sessions.system.process_id import ProcessId

#: Characters of a session id that are the job's.
_ID = 8
#: Seconds for a job's process to start (measured: 0.8 after /background, some more after a crash).
_START = 20.0
#: Seconds for a job's terminal to be shown (measured: 0.2, and 1.0 when the job has to be started again).
_SHOWN = 15.0
#: Seconds after which an Escape is pressed again: one that comes within 0.2 s after the agents view was drawn is lost.
_ESCAPE_TAKEN = 2.0
#: Seconds for the program to stop a job (measured: 0.2, and as long when its daemon has to be started).
_STOPPED = 20.0


@fast_dataclass(frozen=True)
class Job:
    """A job that has a session's conversation.

    `conversation` is the session id to read it under, and to resume it. `worker` is the process that runs the job,
    `viewer` the session's own, which shows the agents view or the terminal of a job; None: it has ended. `starting`: a
    worker may be about to start.
    """

    id: str
    conversation: str
    worker: SessionFile | None
    viewer: SessionFile | None
    starting: bool = False

    @property
    def lives(self) -> bool:
        """Whether something has the conversation, or is about to."""
        return self.worker is not None or self.starting


def find(session: ClaudeSession, found: SessionFile | None) -> Job | None:
    """Return the job to which a session's conversation has moved; None when it has not, or nothing is left to tell.

    `found` is the session file by which the session is known, None when its process has ended.
    """
    directory = session_file.config_dir(session)
    if session.mode == "docker" or not (directory / "jobs").is_dir():
        return None
    origin = found or session_file.left(session)
    conversation = origin.session_id if origin is not None else session.internal_id
    running = list(_running(directory))
    job = (origin.parked or origin.job) if origin is not None else None
    if job is None:
        job = next((each.job for each in running if each.job is not None and each.session_id == conversation), None)
    job = job or _continued(directory, conversation)
    if job is None:
        return None
    worker = next((each for each in running if each.job == job), None)
    viewers = (each for each in running if each.parked == job and session.claude_pid in (None, each.pid))
    viewer = next(viewers, None)
    current = worker.session_id if worker is not None else _state(directory, job).get("resumeSessionId")
    if not isinstance(current, str) or (current.startswith(job) and find_transcript(directory, current) is None):
        # Nothing was said there yet.
        current = viewer.session_id if viewer is not None else conversation
    return Job(job, current, worker, viewer, starting=worker is None and _is_starting(directory, job))


def shown(session: ClaudeSession, found: SessionFile) -> SessionFile:
    """Return what the job's process does, with the beginning of the session's own. MovedToBackground unless the
    session's pane shows the job's terminal."""
    job = find(session, found)
    if job is None:
        return found
    if job.viewer is None or job.worker is None or job.worker.status is None or not any(_views(session, job.viewer)):
        raise MovedToBackground(session.id, job.id)
    return replace(job.worker, began=job.viewer.began, moved_from=job.viewer.session_id)


def require_over(session: ClaudeSession) -> None:
    """Raise MovedToBackground when a job runs the conversation of a session whose own process has ended."""
    job = find(session, None)
    if job is not None and job.lives:
        raise MovedToBackground(session.id, job.id)


def show(session: ClaudeSession, viewer: SessionFile) -> None:
    """Have the session's pane show the job's terminal again. ProtocolError when it does not."""
    pane = AgentPane(session)
    deadline = Deadline(_SHOWN)
    while not deadline.expired:
        # A second Escape would go to the job, and interrupt it.
        if not _views(session, viewer):
            pane.press("Escape")
            poll(lambda: bool(_views(session, viewer)) or None, Deadline(_ESCAPE_TAKEN), POLL_INTERVAL)
        if any(_views(session, viewer)):
            return
        deadline.pause(POLL_INTERVAL)
    raise ProtocolError(f"{session.id} does not leave Claude's agents view; press Escape there: {pane.attach}")


def stop(session: ClaudeSession, job: Job) -> None:
    """End a job and see its process gone; the conversation stays. ProtocolError when it does not end.

    One without a process may be about to get one, unless it was stopped.
    """
    directory = session_file.config_dir(session)
    if job.worker is None and _state(directory, job.id).get("state") in (None, "stopped"):
        return
    variables = environment.of_session(session)
    # In a session's own environment the program refuses its commands about jobs.
    variables.pop(environment.NO_AGENTS_VIEW, None)
    done = run_apart([find_program("claude"), "stop", job.id], env=variables, timeout=_STOPPED)
    if not poll(lambda: None if _is_running(directory, job.id) else True, Deadline(_STOPPED), POLL_INTERVAL):
        said = " ".join((done.stdout + done.stderr).split())
        raise ProtocolError(
            f"{session.id} goes on in Claude's background: it does not end there ({said}); end it yourself: claude stop"
            f" {job.id}"
        )


def _continued(directory: Path, conversation: str) -> str | None:
    """The job in which a conversation went on, by the end of its transcript, or by what the daemon has started."""
    transcript = find_transcript(directory, conversation)
    if transcript is not None and (found := moved_to(transcript)) is not None:
        return found[:_ID]
    workers = _read(directory / "daemon" / "roster.json").get("workers")
    for job, worker in workers.items() if isinstance(workers, dict) else ():
        try:
            if Path(worker["dispatch"]["launch"]["sessionId"]).stem == conversation:
                return str(job)
        except (KeyError, TypeError):
            continue
    return None


def _is_running(directory: Path, job: str) -> bool:
    return any(each.job == job for each in _running(directory)) or _is_listed(directory, job)


def _is_listed(directory: Path, job: str) -> bool:
    """Whether the process lives that the daemon has started for a job::

    {"workers": {"cf3314fe": {"pid": 28627, "procStart": "1215512", "sessionId": "cf3314fe-2d3e-…", …}}, …}
    """
    workers = _read(directory / "daemon" / "roster.json").get("workers")
    worker = workers.get(job) if isinstance(workers, dict) else None
    pid, started = (worker.get("pid"), worker.get("procStart")) if isinstance(worker, dict) else (None, None)
    return isinstance(pid, int) and isinstance(started, str) and is_running(ProcessId(pid, started))


def _running(directory: Path) -> Iterator[SessionFile]:
    """The session files of the processes that live."""
    for pid in _names(directory / "sessions"):
        if pid.isdigit() and (found := session_file.read(directory, int(pid))) is not None:
            yield found


def _views(session: ClaudeSession, viewer: SessionFile) -> list[bool]:
    """Of each terminal of a job that the session's process has opened, whether it is shown by now."""
    directory = session_file.config_dir(session) / "daemon" / "attach-journal"
    entries = [_read(directory / f"{name}.json") for name in _names(directory)]
    return [
        entry.get("interactiveReached") is True
        for entry in entries
        if entry.get("pid") == viewer.pid and viewer.started in (None, entry.get("procStart"))
    ]


def _is_starting(directory: Path, job: str) -> bool:
    """Whether something was said of a job just now, and not that it was stopped."""
    try:
        age = time.time() - (directory / "jobs" / job / "state.json").stat().st_mtime
    except OSError:
        return False
    return age < _START and _state(directory, job).get("state") != "stopped"


def _state(directory: Path, job: str) -> dict[str, Any]:
    return _read(directory / "jobs" / job / "state.json")


def _names(directory: Path) -> list[str]:
    """The JSON files in a directory, without their ending."""
    try:
        return [name.removesuffix(".json") for name in os.listdir(directory) if name.endswith(".json")]
    except OSError:
        return []


def _read(path: Path) -> dict[str, Any]:
    """An object in a file; an empty one for what can't be read, which is what is not there yet or any more."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
