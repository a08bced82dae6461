"""The store of runs, the processes that carry them out, and the work they do."""
