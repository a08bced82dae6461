"""Functional dual anchors: construct them, merge with them, look inside them.

Rooms, lowest first: measures and settings, checkpoints, architectures, zoos, tasks, anchors, merging, analysis, store,
figures, jobs, requests, report, stages, ui, bench and demo, cli. A room never imports a higher one; `make check` proves it.
"""

__version__ = "0.1.0"
