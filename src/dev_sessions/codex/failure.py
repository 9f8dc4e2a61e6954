"""Why a turn of Codex failed, from its error. Pure.

A turn's error, in the history (0.171)::

    {"message": "unexpected status 401 Unauthorized: …", "codexErrorInfo": {"httpConnectionFailed":
     {"httpStatusCode": 401}}, "additionalDetails": null}
    {"message": "You've hit your usage limit. …", "codexErrorInfo": "usageLimitExceeded", …}

The words are all of those in the schemas of 0.150, 0.169 and 0.171. 0.150 says `other` of every HTTP status but 429 and
500, and all of them say it of a 400, whose body is the message, and of a provider's key that is not set::

    {"message": "Missing environment variable: `MY_KEY`. Get one at …", "codexErrorInfo": "other", …}
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dev_sessions import failures
from dev_sessions.models import Reason
from dev_sessions.system.json_object import parse_object

#: The words of Codex that are told apart, without those that come with an HTTP status.
BY_WORD: Mapping[str, Reason] = {
    "contextWindowExceeded": "context",
    "sessionBudgetExceeded": "usage_limit",
    "usageLimitExceeded": "usage_limit",
    "rateLimitExceeded": "rate_limit",
    "flexUnavailable": "overloaded",
    "serverOverloaded": "overloaded",
    "policyCapacityUnavailable": "overloaded",
    "internalServerError": "overloaded",
    "modelNotFound": "model",
    "cyberPolicy": "policy",
    "bioPolicy": "policy",
    "misalignmentPolicyViolation": "policy",
    "tooManyDenials": "policy",
    "unauthorized": "auth",
    "badRequest": "invalid_request",
    "activeTurnNotSteerable": "invalid_request",
    "inferenceHookDenied": "hook",
    "threadRollbackFailed": "unknown",
    "sandboxError": "unknown",
}
#: With the status of the response; null if there was none.
_HTTP = (
    "httpConnectionFailed",
    "responseStreamConnectionFailed",
    "responseStreamDisconnected",
    "responseTooManyFailedAttempts",
)
_STATUS = r"unexpected status (\d{3}) "
_DISCONNECTED = "stream disconnected before completion"
_NO_KEY = "Missing environment variable: `"


def reason_of(error: object) -> Reason:
    """Return why a turn failed, from its error; `unknown` for an error of a later version."""
    fields = error if isinstance(error, dict) else {}
    info = fields.get("codexErrorInfo")
    if isinstance(info, dict) and len(info) == 1:
        (word, details), *_ = info.items()
        if word in _HTTP:
            status = details.get("httpStatusCode") if isinstance(details, dict) else None
            return "network" if status is None else failures.of_status(status)
        info = word
    if isinstance(info, str) and info in BY_WORD:
        return BY_WORD[info]
    message = fields.get("message")
    return _reason_of_message(message) if isinstance(message, str) else "unknown"


def _reason_of_message(message: str) -> Reason:
    if found := re.match(_STATUS, message):
        return failures.of_status(int(found[1]))
    if message.startswith(_NO_KEY):
        return "auth"
    if message.startswith(_DISCONNECTED):
        return "network"
    match parse_object(message):
        case {"error": {"code": "context_length_exceeded"}}:
            return "context"
        case {"error": {"type": "invalid_request_error"}}:
            return "invalid_request"
    return "unknown"
