"""What works here and what does not, and what to do about it.

Nothing is started, changed or waited for: the app-server stays off when it is off, a lost session stays in the store.
"""
