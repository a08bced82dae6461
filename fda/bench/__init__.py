"""Benchmarks that measure our implementations against plain ones, as ratios. `python -m fda bench` runs them.

Only the command line imports this room; pages read results through `fda.store.bench_results`.
"""
