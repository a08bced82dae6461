"""Benchmarks: our paths beside plain ones, in one process, as ratios. Run by `python -m fda bench`.

Nothing else imports this room; what a page shows of results is read by `fda.store.bench_results`.
"""
