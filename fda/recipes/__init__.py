"""Recipes of zoos of real models: where base and data come from, for `python -m fda zoo finetune`.

A recipe is a zoo file in assets/recipes, whose tasks have data and no model yet, with the sources of base and data.
"""
