"""`python -m fda …`: the command line."""

from fda.cli import main

main()
