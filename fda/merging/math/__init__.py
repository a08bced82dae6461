"""What merging methods share: sparsifying, thresholds, signs, singular vectors, and the in/out sides of linear layers.

Pure functions on tensors; a method's name, defaults and paper belong in `fda.merging.methods`.
"""
