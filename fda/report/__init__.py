"""A run in words, tables and one HTML file: comparison tables, model card, run report, and the command that repeats a run.

Serves the pages and the command line alike, so it imports no streamlit.
"""
