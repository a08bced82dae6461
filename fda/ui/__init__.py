"""What pages share: controls, live figures, notices. The only room that imports streamlit; it imports no torch.

What the command line or a report needs too belongs in `fda.report`.
"""
