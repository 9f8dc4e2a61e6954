"""The tests; `tests/run` runs them all."""
