"""One merging method a file: its registry entry and a pure function from weights to merged tensors.

Mathematics that several methods share belongs in `fda.merging.math`.
"""
