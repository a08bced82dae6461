"""The store of runs: SQLite schema and migrations, the records that reads return, and the files in a run's folder.

Starts no process and computes nothing with tensors.
"""
