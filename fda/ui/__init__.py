"""What pages share: controls, live figures, notices. The only room that imports streamlit; it imports no torch.

Code that the command line or a report also needs belongs in `fda.report`.
"""
