"""`python -m tests.chaos --kills 100 --seed 0`: end so many processes by SIGKILL, and say what was found."""

import argparse
import logging
import os
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the places and moments")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="fda-chaos-") as folder:
        os.environ["FDA_HOME"] = str(Path(folder) / "home")
        from tests.chaos.campaign import Campaign
        from tests.support.tiny_zoo import make_zoo

        began = time.monotonic()
        campaign = Campaign(
            Path(folder) / "home",
            make_zoo(Path(folder) / "zoo"),
            asked.seed,
            tell=lambda line: print(line, flush=True),
        )
        print(f"an undisturbed run: {campaign.seconds:.1f} s, {campaign.writes} writes", flush=True)
        campaign.run(asked.kills)
        for death, count in sorted(campaign.deaths.items()):
            print(f"{count:>5}  {death}")
        print(
            f"{campaign.deaths.total()} deaths in {time.monotonic() - began:.0f} s. No finished unit was lost, the store"
        )
        print(f"and its files agreed each time, and {campaign.compared} runs equal the undisturbed one byte for byte.")


if __name__ == "__main__":
    main()
