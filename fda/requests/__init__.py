"""What a person may ask for, from a page or the command line: each request becomes a checked RunSpec or one sentence.

Imports no torch and does no work of a run: carrying a request out belongs in `fda.stages`.
"""
