"""Spawn coding-agent sessions, give them work, wait for their turns and read what they said."""

__version__ = "0.5.0"
