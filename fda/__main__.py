"""`python -m fda …`, and the console script `fda`: the command line."""

from fda.cli.app import main
from fda.interpreter import leave


def run() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        main()
    except SystemExit as end:
        assert isinstance(end.code, int), "`main` exits with a number"
        leave(end.code)


if __name__ == "__main__":
    run()
