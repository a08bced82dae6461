"""Measures of anchors: spectra and alignment with real block inputs. Pure functions on tensors."""
