"""Processes, files, locks and time: knows nothing of sessions."""
