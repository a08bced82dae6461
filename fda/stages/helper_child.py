"""The child of a helper run's worker: a spec as JSON on stdin, the answer as JSON on the last line of stdout.

`{"result": …}`, or `{"problem": SENTENCE}`.
"""

import json
import sys
from typing import Any

from fda.errors import UserError
from fda.interpreter import begin, leave
from fda.store.spec import RunSpec


def survey(spec: RunSpec) -> dict[str, Any]:
    from fda.zoos.survey import survey

    return survey(spec.zoo, spec.zoo_path)


def preview(spec: RunSpec) -> dict[str, Any]:
    from fda.stages.check import preview_zoo

    return preview_zoo(spec.zoo).model_dump(mode="json")


def analysis(spec: RunSpec) -> dict[str, Any]:
    from fda.stages.zoo_analyses import zoo_tables
    from fda.store.analyses import content_of

    return {panel: content_of(table) for panel, table in zoo_tables(spec.zoo).items()}


def estimate(spec: RunSpec) -> None:
    """What is measured is kept in the cache of calibrations."""
    from fda.stages.calibrate import calibrate

    calibrate(spec.model_copy(update={"helper": None}))


ANSWERS = {"survey": survey, "preview": preview, "analysis": analysis, "estimate": estimate}


def main() -> int:
    begin()
    spec = RunSpec.model_validate_json(sys.stdin.read())
    try:
        answer = {"result": ANSWERS[spec.kind](spec)}
    except UserError as error:
        answer = {"problem": str(error)}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    leave(main())
