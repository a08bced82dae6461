"""A worker that does the work of tests.support.runs that FAKE_WORK names: `python -m tests.support.fake_worker RUN_ID`."""

import os
import sys

from fda.stages import worker
from tests.support import runs

if __name__ == "__main__":
    worker.SETTLE_SECONDS = 1.0  # a short patience, for the tests
    sys.exit(worker.main(sys.argv[1], execute=getattr(runs, os.environ["FAKE_WORK"])))
