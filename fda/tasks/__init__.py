"""The tasks of a zoo: data, labels, heads, a model's answers, and each task's metric.

Merging and adapting models belongs in `fda.merging` and `fda.anchors`.
"""
