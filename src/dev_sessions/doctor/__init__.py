"""Check the installation and say how to fix it.

No check starts or changes anything: a stopped app-server is not started, and a lost session stays in the store.
"""
