"""The rows of a comparison in the format of `compare --json` and `demo --json`, which is a public contract."""

from typing import Any

from fda.store.store import MethodResult, Score


def comparison(zoo: str, tasks: tuple[str, ...], results: list[MethodResult], scores: list[Score]) -> dict[str, Any]:
    """{"zoo", "tasks", "rows"}; accuracies in 0..1. `normalized` is the mean over tasks of accuracy / individual accuracy.

    The row of a failed method has the reason under `error` and no accuracy.
    """
    accuracy: dict[str, dict[str, float]] = {}
    for score in scores:
        accuracy.setdefault(score.method, {})[score.task] = score.value
    ceiling = accuracy.get("individual", {})
    rows = []
    for result in results:
        of_method = accuracy.get(result.method, {})
        whole = result.state == "done" and all(task in of_method for task in tasks)
        row = {
            "method": result.method,
            "settings": result.settings,
            "accuracy": {task: of_method[task] for task in tasks} if whole else {},
            "average": sum(of_method[task] for task in tasks) / len(tasks) if whole else None,
            "normalized": _normalized(of_method, ceiling, tasks) if whole else None,
            "seconds": result.seconds,
            "peak_bytes": result.peak_bytes,
        }
        rows.append(row if result.state == "done" else row | {"error": result.message})
    return {"zoo": zoo, "tasks": list(tasks), "rows": rows}


def _normalized(of_method: dict[str, float], ceiling: dict[str, float], tasks: tuple[str, ...]) -> float | None:
    if any(not ceiling.get(task) for task in tasks):
        return None
    return sum(of_method[task] / ceiling[task] for task in tasks) / len(tasks)
