"""One merging method a file: its entry for the registry and a pure function from weights to merged tensors.

Mathematics that several methods share belongs in `fda.merging.math`.
"""
