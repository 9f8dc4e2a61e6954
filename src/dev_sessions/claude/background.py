"""Find, show and stop conversations in Claude's background, where ← on an empty box and /background move them.

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

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dev_sessions.claude import environment, session_file
from dev_sessions.claude.pane import POLL_INTERVAL, AgentPane
from dev_sessions.claude.session_file import SessionFile
from dev_sessions.claude.transcript_file import continued_session_id, find_transcript
from dev_sessions.errors import MovedToBackground, ProtocolError
from dev_sessions.models import ClaudeSession
from dev_sessions.system.deadline import Deadline, wait_until
from dev_sessions.system.fast_dataclass import fast_dataclass, replace
from dev_sessions.system.json_object import read_object
from dev_sessions.system.process import is_alive, is_running
from dev_sessions.system.process_id import ProcessId
from dev_sessions.system.programs import find_program, run_in_own_group

#: Number of characters of a session id that are the job's id.
_JOB_ID_LENGTH = 8
#: Seconds for a job's process to start (measured: 0.8 after /background, longer after a crash).
_START_TIMEOUT = 20.0
#: Seconds for a job's terminal to be shown (measured: 0.2, and 1.0 when the job has to be started again).
_SHOW_TIMEOUT = 15.0
#: Seconds before Escape is pressed again: a key within 0.2 s after the agents view was drawn is lost.
_ESCAPE_TIMEOUT = 2.0
#: Seconds for the program to stop a job (measured: 0.2, and as long when its daemon has to be started).
_STOP_TIMEOUT = 20.0


@fast_dataclass(frozen=True)
class Job:
    """A background job that has a session's conversation.

    `conversation` is the session id under which it can be read and resumed. `worker` is the process that runs the job;
    `viewer` is the session's own process, which shows the agents view or the terminal of a job; None if it has ended.
    `starting`: a worker may be about to start.
    """

    id: str
    conversation: str
    worker: SessionFile | None
    viewer: SessionFile | None
    starting: bool = False

    @property
    def is_alive(self) -> bool:
        """Return whether a process has the conversation, or is about to."""
        return self.worker is not None or self.starting


def find(session: ClaudeSession, found: SessionFile | None) -> Job | None:
    """Return the job to which a session's conversation has moved, or None if it has not or that can't be found.

    `found` is the session's session file, None if its process has ended.
    """
    directory = session_file.config_dir(session)
    if session.mode == "docker" or not (directory / "jobs").is_dir():
        return None
    origin = found or session_file.last_written(session)
    conversation = origin.session_id if origin is not None else session.internal_id
    running = list(_live_session_files(directory))
    job = (origin.parked_job_id or origin.job) if origin is not None else None
    if job is None:
        job = next((each.job for each in running if each.job is not None and each.session_id == conversation), None)
    job = job or _find_continuation(directory, conversation)
    if job is None:
        return None
    worker = next((each for each in running if each.job == job), None)
    viewers = (each for each in running if each.parked_job_id == job and session.claude_pid in (None, each.pid))
    viewer = next(viewers, None)
    current = worker.session_id if worker is not None else _state(directory, job).get("resumeSessionId")
    if not isinstance(current, str) or (current.startswith(job) and find_transcript(directory, current) is None):
        # Nothing has been said in the job's conversation yet.
        current = viewer.session_id if viewer is not None else conversation
    return Job(job, current, worker, viewer, starting=worker is None and _is_starting(directory, job))


def foreground_state(session: ClaudeSession, found: SessionFile) -> SessionFile:
    """Return the state of the job's process, with the start time of the session's own.

    Raises MovedToBackground unless the session's pane shows the job's terminal.
    """
    job = find(session, found)
    if job is None:
        return found
    if (
        job.viewer is None
        or job.worker is None
        or job.worker.status is None
        or not any(_attachments(session, job.viewer))
    ):
        raise MovedToBackground(session.id, job.id)
    return replace(job.worker, registered_at=job.viewer.registered_at, moved_from=job.viewer.session_id)


def require_ended(session: ClaudeSession) -> None:
    """Raise MovedToBackground when a job has the conversation of a session whose own process has ended."""
    job = find(session, None)
    if job is not None and job.is_alive:
        raise MovedToBackground(session.id, job.id)


def show_job(session: ClaudeSession, viewer: SessionFile) -> None:
    """Have the session's pane show the job's terminal again. Raises ProtocolError when it does not."""
    pane = AgentPane(session)
    deadline = Deadline(_SHOW_TIMEOUT)
    while not deadline.expired:
        # A second Escape would reach the job and interrupt it.
        if not _attachments(session, viewer):
            pane.press("Escape")
            wait_until(lambda: bool(_attachments(session, viewer)), Deadline(_ESCAPE_TIMEOUT), POLL_INTERVAL)
        if any(_attachments(session, viewer)):
            return
        deadline.pause(POLL_INTERVAL)
    raise ProtocolError(f"{session.id} does not leave Claude's agents view; press Escape there: {pane.attach_command}")


def stop_job(session: ClaudeSession, job: Job) -> None:
    """Stop a job and wait for the end of its process; the conversation stays. Raises ProtocolError when it fails.

    A job without a process may be about to get one, unless it was stopped before.
    """
    directory = session_file.config_dir(session)
    if job.worker is None and _state(directory, job.id).get("state") in (None, "stopped"):
        return
    variables = environment.for_session(session)
    # With this variable the program refuses all commands about jobs.
    variables.pop(environment.NO_AGENTS_VIEW, None)
    done = run_in_own_group([find_program("claude"), "stop", job.id], env=variables, timeout=_STOP_TIMEOUT)
    if not wait_until(lambda: not _is_running(directory, job.id), Deadline(_STOP_TIMEOUT), POLL_INTERVAL):
        output = " ".join((done.stdout + done.stderr).split())
        raise ProtocolError(
            f"{session.id} continues in Claude's background: it does not end there ({output}); end it with: claude"
            f" stop {job.id}"
        )


def _find_continuation(directory: Path, conversation: str) -> str | None:
    """Return the job in which a conversation continues, by the end of its transcript or by the daemon's roster."""
    transcript = find_transcript(directory, conversation)
    if transcript is not None and (found := continued_session_id(transcript)) is not None:
        return found[:_JOB_ID_LENGTH]
    workers = read_object(directory / "daemon" / "roster.json").get("workers")
    for job, worker in workers.items() if isinstance(workers, dict) else ():
        try:
            if Path(worker["dispatch"]["launch"]["sessionId"]).stem == conversation:
                return str(job)
        except (KeyError, TypeError):
            continue
    return None


def _is_running(directory: Path, job: str) -> bool:
    return any(each.job == job for each in _live_session_files(directory)) or _is_in_roster(directory, job)


def _is_in_roster(directory: Path, job: str) -> bool:
    """Return whether the process that the daemon has started for a job is alive. The roster::

    {"workers": {"cf3314fe": {"pid": 28627, "procStart": "1215512", "sessionId": "cf3314fe-2d3e-…", …}}, …}
    """
    workers = read_object(directory / "daemon" / "roster.json").get("workers")
    worker = workers.get(job) if isinstance(workers, dict) else None
    pid, written = (worker.get("pid"), worker.get("procStart")) if isinstance(worker, dict) else (None, None)
    if not isinstance(pid, int):
        return False
    started = session_file.start_time(written)
    return is_alive(pid) if started is None else is_running(ProcessId(pid, started))


def _live_session_files(directory: Path) -> Iterator[SessionFile]:
    """Yield the session files of live processes."""
    for pid in _json_names(directory / "sessions"):
        if pid.isdigit() and (found := session_file.read(directory, int(pid))) is not None:
            yield found


def _attachments(session: ClaudeSession, viewer: SessionFile) -> list[bool]:
    """Return, for each terminal of a job that the session's process has opened, whether it is shown."""
    directory = session_file.config_dir(session) / "daemon" / "attach-journal"
    entries = [read_object(directory / f"{name}.json") for name in _json_names(directory)]
    return [
        entry.get("interactiveReached") is True
        for entry in entries
        if entry.get("pid") == viewer.pid and viewer.started in (None, session_file.start_time(entry.get("procStart")))
    ]


def _is_starting(directory: Path, job: str) -> bool:
    """Return whether a job's state was written recently, and is not that it was stopped."""
    try:
        age = time.time() - (directory / "jobs" / job / "state.json").stat().st_mtime
    except OSError:
        return False
    return age < _START_TIMEOUT and _state(directory, job).get("state") != "stopped"


def _state(directory: Path, job: str) -> dict[str, Any]:
    return read_object(directory / "jobs" / job / "state.json")


def _json_names(directory: Path) -> list[str]:
    """Return the names of the JSON files in a directory, without `.json`."""
    try:
        return [name.removesuffix(".json") for name in os.listdir(directory) if name.endswith(".json")]
    except OSError:
        return []
