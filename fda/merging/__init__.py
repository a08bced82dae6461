"""Merging methods and their registry: weights in, merged tensors out, one tensor at a time.

Adaptation on anchors is `fda.anchors`; scoring a merged model belongs in `fda.tasks` and `fda.stages`.
"""
