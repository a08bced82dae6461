"""Measures of anchors, weights and scores: spectra, alignment with real data, loss landscapes, intervals. Pure functions.

Reads no file and no store; which numbers are kept is decided in `fda.stages`.
"""
