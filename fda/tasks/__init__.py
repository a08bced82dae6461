"""Data, heads and evaluation of the tasks of a zoo."""
