"""Figures: numbers in, a plotly figure out. Pure functions; they know nothing of Streamlit, torch or files."""
