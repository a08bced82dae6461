"""Numbers in, a Plotly figure out. Pure functions of arrays, records and a theme.

Knows no Streamlit, no torch and no files; which figure a page shows is decided in `fda.report` and `fda.ui`.
"""
