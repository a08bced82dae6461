"""A worker whose work is the function of `helpers` that FAKE_WORK names: `python -m tests.runs.fake_worker RUN_ID`."""

import os
import sys

from fda.stages import worker
from tests.runs import helpers

if __name__ == "__main__":
    worker.SETTLE_SECONDS = 1.0  # a short patience, for the tests
    sys.exit(worker.main(sys.argv[1], execute=getattr(helpers, os.environ["FAKE_WORK"])))
