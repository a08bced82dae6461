"""The only package that imports streamlit: what the pages share."""
