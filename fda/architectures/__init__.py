"""A model as a chain of blocks: building open_clip and transformers models without weights, and running one block alone.

Knows no zoo, task or run; which checkpoints belong together is decided in `fda.zoos`.
"""
