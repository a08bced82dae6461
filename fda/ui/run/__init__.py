"""The views of the run page: units, scores, examples and landscape, each a function that draws into the current container.

The page itself (`pages/run.py`) has the bar, the choice of the run and of the view. Numbers and figures are not made here: see
`fda.report` and `fda.figures`.
"""
