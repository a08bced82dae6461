"""Measures of anchors, weights and scores: spectra, alignment with real data, loss landscapes, intervals. Pure functions.

Reads no file and no store; `fda.stages` decides which numbers a run keeps.
"""
