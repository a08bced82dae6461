"""The tasks of a zoo: their data, labels and heads, and what a model answers on them, scored by each task's metric.

Merging and adapting models belongs in `fda.merging` and `fda.anchors`.
"""
