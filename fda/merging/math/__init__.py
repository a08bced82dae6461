"""Mathematics that merging methods share: sparsifying, thresholds, signs, singular vectors, and transposed linear layers.

Pure functions on tensors; a method's name, defaults and paper belong in `fda.merging.methods`.
"""
