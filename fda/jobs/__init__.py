"""Processes of runs: starting, queueing, stopping and resuming them, their heartbeat, and how work hears that it must stop.

Knows that a run has a worker; what the worker does belongs in `fda.stages`.
"""
