"""Print a landscape run: the ends of the paths and the lowest point of the plane."""

import numpy as np

from fda.store.landscape_record import FDA_PATHS, TA, LandscapeMap, LandscapeNumbers, load_map, read_numbers
from fda.store.store import Store


def report_landscape(run_id: str) -> None:
    """Print loss and accuracy of θ0, of task arithmetic, of FDA's ends and of the plane's lowest point."""
    store = Store()
    plane = load_map(store.run_dir(run_id))
    if plane is None:
        print("the plane is not computed yet.")
        return
    numbers = read_numbers(store, run_id, plane)
    print(f"{'model':<32} {'a':>6} {'b':>6} {'off plane':>9} {'loss':>7} {'accuracy':>8}")
    for name, index, title in _ends(plane, numbers):
        track = plane.track(name)
        loss, accuracy = (numbers.tracks[metric][name][index] for metric in ("loss", "accuracy"))
        _line(title, track.a[index], track.b[index], track.distance[index], loss, accuracy)
    loss, accuracy = numbers.grid["loss"], numbers.grid["accuracy"]
    if np.isfinite(loss).any():
        row, column = np.unravel_index(np.nanargmin(loss), loss.shape)
        _line("lowest loss on the grid", plane.a[column], plane.b[row], 0.0, loss[row, column], accuracy[row, column])
    counts = ", ".join(f"{task} {count}" for task, count in plane.samples.items())
    print(f"means over tasks, on samples of the {plane.split} split: {counts}; a, b, off plane in units of ‖Σ τ‖")


def _ends(plane: LandscapeMap, numbers: LandscapeNumbers) -> list[tuple[str, int, str]]:
    """(track, index, title) of the models to print."""
    ta, losses = plane.track(TA), numbers.tracks["loss"][TA]
    lines = [(TA, ta.at.index(0.0), "pretrained"), (TA, ta.at.index(plane.scale), f"ta, λ {plane.scale:g}")]
    if np.isfinite(losses).any():
        best = int(np.nanargmin(losses))
        lines.append((TA, best, f"ta of lowest loss, λ {ta.at[best]:g}"))
    return [*lines, *((name, -1, name) for name in FDA_PATHS)]


def _line(title: str, a: float, b: float, distance: float, loss: float, accuracy: float) -> None:
    print(f"{title:<32} {a:6.2f} {b:6.2f} {distance:9.3f} {loss:7.4f} {accuracy:8.1%}")
