"""The command line, one file a group of commands: options in, requests out, and one line for every error.

Anything that a page needs too belongs in `fda.requests` or `fda.report`.
"""
