"""Weights that strangers saved: reading them lazily and safely in every format, and writing safetensors files.

Knows names, shapes and bytes; what a model computes with them belongs in `fda.architectures`.
"""
