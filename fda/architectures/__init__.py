"""Models as chains of blocks: builds open_clip and transformers models without weights, and runs one block alone.

Knows no zoo, task or run; `fda.zoos` decides which checkpoints belong together.
"""
