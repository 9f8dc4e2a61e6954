"""How long commands take and what they need, beside what is least possible. `tests/run --benchmarks [GROUP…]`."""
