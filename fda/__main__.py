"""`python -m fda …`: the command line."""

from fda.cli.app import main
from fda.interpreter import leave

try:
    main()
except SystemExit as end:
    leave(end.code)
