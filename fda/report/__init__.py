"""A run as words, tables and one HTML file: comparison tables, model card, run report, and the commands that repeat it.

Serves both the pages and the command line, so it imports no streamlit.
"""
