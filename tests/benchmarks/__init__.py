"""Measure how long commands take and how much memory they need, beside a floor. `tests/run --benchmarks [GROUP…]`."""
