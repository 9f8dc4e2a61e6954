"""Why a turn of Claude Code failed, from the entry with which it ended. Pure.

The fields of such an entry (2.1.332; 2.1.250 has neither `apiError` nor `apiErrorType`)::

    {"type": "assistant", "isApiErrorMessage": true, "error": "rate_limit", "apiError": "usage_limit_reached",
     "apiErrorStatus": 429, "quotaLimits": {"status": "rejected", "resetsAt": 1795921043, …},
     "message": {"stop_reason": "stop_sequence", "content": [{"type": "text", "text": "You've hit your …"}], …}, …}

`error` is one of a fixed list, `apiError` a finer word for some of them. If no answer came at all, `error` is
`server_error` without an `apiErrorStatus`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dev_sessions import failures
from dev_sessions.models import Reason, timestamp

_BY_API_ERROR: Mapping[str, Reason] = {
    "usage_limit_reached": "usage_limit",
    "model_requires_usage_credits": "billing",
    "long_context_credits_required": "billing",
    "message_over_context_limit": "context",
    "autocompact_thrashing": "context",
    "connection_failed": "network",
    "no_response": "network",
    "stream_idle_timeout": "network",
    "network_edge_blocked": "network",
    "hook_denied": "hook",
    "api_key_auth_disabled": "auth",
    "invalid_credential_header": "auth",
    "named_profile_unusable": "auth",
    "oauth_refresh_store_refused": "auth",
    "org_disabled_credential": "auth",
    "stored_login_refused": "auth",
}
_BY_ERROR: Mapping[str, Reason] = {
    "authentication_failed": "auth",
    "oauth_org_not_allowed": "auth",
    "verification_required": "auth",
    "cloud_credential_error": "auth",
    "account_on_hold": "billing",
    "billing_error": "billing",
    "model_not_found": "model",
    "rate_limit": "rate_limit",
    "overloaded": "overloaded",
    "max_output_tokens": "output_limit",
}
_WITHOUT_STATUS: Mapping[object, Reason] = {"server_error": "network", "invalid_request": "invalid_request"}
#: What Claude writes when the API refused the conversation as too long (2.1.250 to 2.1.332): the API's words are in
#: `errorDetails`.
_TOO_LONG = "Prompt is too long"


def reason_of(record: Mapping[str, Any], text: str) -> Reason:
    """Return why a turn failed, from the entry that ended it, and its text."""
    error, api_error, status = (_word(record.get(name)) for name in ("error", "apiError", "apiErrorStatus"))
    if api_error in _BY_API_ERROR:
        return _BY_API_ERROR[api_error]
    if _object(record.get("quotaLimits")).get("status") == "rejected":
        return "usage_limit"
    if _object(record.get("message")).get("stop_reason") == "refusal":
        return "policy"
    if _object(record.get("apiErrorParams")).get("cut") == "context_window" or text.startswith(_TOO_LONG):
        return "context"
    if error in _BY_ERROR:
        return _BY_ERROR[error]
    if status is not None:
        return failures.of_status(status)
    return _WITHOUT_STATUS.get(error, "unknown")


def resets_at(record: Mapping[str, Any]) -> str | None:
    """Return when the usage limit ends that a turn met (ISO 8601); None if the entry does not say it."""
    reset = _object(record.get("quotaLimits")).get("resetsAt")
    try:
        return timestamp(reset) if isinstance(reset, int | float) and reset > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def _word(value: object) -> Any:
    return value if isinstance(value, str | int) else None


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
