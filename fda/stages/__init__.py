"""Carrying out a run inside its worker process: construct, adapt, merge, score, landscape, export.

Reads a RunSpec; writes numbers to the store and files to the run's folder. Knows no page and no command line.
"""
