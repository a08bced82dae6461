"""What is kept of runs: the SQLite schema and its migrations, the records it hands out, and the files in a run's folder.

Starts no process and computes nothing with tensors.
"""
