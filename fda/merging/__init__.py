"""Merging methods and their registry: weights in, merged tensors out, one tensor at a time.

Adaptation on anchors belongs in `fda.anchors`, scoring a merged model in `fda.tasks` and `fda.stages`.
"""
