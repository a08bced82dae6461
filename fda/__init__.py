"""Functional dual anchors: construct them, merge with them, look inside them."""

__version__ = "0.1.0"
