"""Numbers in, a Plotly figure out. Pure functions of arrays, records and a theme.

Imports no streamlit and no torch, reads no files. `fda.report` and `fda.ui` decide which figure a page shows.
"""
