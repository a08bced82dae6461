"""Checkpoints: lazy and safe readers of untrusted files in every format, and a writer of safetensors files.

Knows names, shapes and bytes; what a model computes with them belongs in `fda.architectures`.
"""
