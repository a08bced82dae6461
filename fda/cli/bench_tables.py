"""What `python -m fda bench …` prints: a table for each kind of measurement, from its plain data."""

from collections.abc import Mapping, Sequence
from typing import Any


def adapt_table(result: dict[str, Any]) -> None:
    """Milliseconds of an epoch and their ratio to the paper's loop, by start and path."""
    print(
        f"{result['size']} on {result['device']}, {result['threads']} threads: {result['anchors']} anchors of "
        f"{result['tokens']} tokens, {result['batch']} a step; "
        f"the products of an epoch take {1e3 * result['floor_seconds']:.0f} ms at best"
    )
    print(
        f"{'start':<12} {'path':<13} {'ms an epoch':>11} {'least–most':>13} {'first s':>8} {'ratio':>6} {'difference':>11}"
    )
    reference = {row["start"]: row["seconds"][0] for row in reversed(result["rows"])}
    for row in result["rows"]:
        typical, low, high = (1e3 * value for value in row["seconds"])
        print(
            f"{row['start']:<12} {row['path']:<13} {typical:>11.0f} {low:>6.0f}–{high:<6.0f} {row['first']:>8.1f} "
            f"{reference[row['start']] / row['seconds'][0]:>6.2f} {row['difference']:>11.1e}"
        )


def engines_table(result: dict[str, Any]) -> None:
    """Seconds of a unit by each engine, and what the second adds to the first."""
    print(
        f"zoo {result['zoo']}, {result['steps']} plain steps a unit, {result['cores']} cores, {result['repeats']} times each, "
        "in turn"
    )
    print(
        f"{'engine':<8} {'s a unit':>8} {'least–most':>13} {'added':>7} {'CPU s a unit':>13} {'least–most':>13} {'added':>7}"
    )
    first = result["rows"][0]
    for row in result["rows"]:
        parts = []
        for key, width in (("seconds", 8), ("work", 13)):
            typical, low, high = row[key]
            parts.append(f"{typical:>{width}.2f} {low:>6.2f}–{high:<6.2f} {typical / first[key][0] - 1:>+7.1%}")
        print(f"{row['engine']:<8} {' '.join(parts)}")


def starts_table(result: dict[str, Any]) -> None:
    """Averages of each start and of FDA from it."""
    _compared(result["rows"], {"start %": "averages", "FDA %": "fda"})


def _compared(rows: Sequence[dict[str, Any]], columns: Mapping[str, str]) -> None:
    """Two averages over seeds of each start, and their difference with its interval. `columns`: heading → key."""
    headings = " ".join(f"{heading:>16}" for heading in columns)
    print(f"{'start':<11} {headings} {'difference':>10}  95 % interval")
    for row in rows:
        averages = " ".join(f"{' '.join(f'{value:.1%}'[:-1] for value in row[key]):>16}" for key in columns.values())
        low, high = row["interval"]
        print(f"{row['start']:<11} {averages} {100 * row['difference']:>+10.1f}  {100 * low:+.1f} to {100 * high:+.1f}")


def observations_table(result: dict[str, Any]) -> None:
    """The first and last value of each measure, by initialisation."""
    print(f"{'init':<7} {'measure':<25} {'first':>8} {'last':>8}  {'over seeds':<17} {'rose in':>8} {'real data':>9}")
    for row in result["rows"]:
        last = row["last"]
        spread = f"{min(last):.4f} to {max(last):.4f}"
        real = "" if row["real"] is None else f"{row['real']:.3f}"
        first, end = (sum(row[name]) / len(row[name]) for name in ("first", "last"))
        print(
            f"{row['init']:<7} {row['measure']:<25} {first:>8.4f} {end:>8.4f}  {spread:<17} {row['rose']:>8.0%} {real:>9}"
        )


def merge_table(result: dict[str, Any]) -> None:
    """Seconds and peak memory of each method by each path."""
    print(
        f"{result['blocks']} blocks of ViT-B/32's size, {result['tasks']} tasks, {result['threads']} threads, "
        f"{result['repeats']} times"
    )
    print(
        f"{'method':<10} {'path':<6} {'seconds':>9} {'least–most':>15} {'peak MiB':>9} {'ratio':>6} {'difference':>11}"
    )
    plain = {row["method"]: row["seconds"][0] for row in result["rows"] if row["path"] == "plain"}
    for row in result["rows"]:
        typical, low, high = row["seconds"]
        line = f"{row['method']:<10} {row['path']:<6} {typical:>9.2f} {low:>7.2f}–{high:<7.2f}"
        line += f" {row['peak_bytes'] / 2**20:>9.0f}"
        if row["path"] == "ours" and row["method"] in plain:
            line += f" {plain[row['method']] / typical:>6.2f} {result['difference'][row['method']]:>11.1e}"
        print(line)


def evaluate_table(result: dict[str, Any]) -> None:
    """Seconds of each path, and whether their answers are equal."""
    print(
        f"{result['models']} models on {result['samples']} samples of {result['zoo']} "
        f"({result['prepared_bytes'] / 2**20:.0f} MiB prepared), {result['device']}, {result['threads']} threads, "
        f"{result['repeats']} times"
    )
    print(f"{'path':<10} {'seconds':>9} {'least–most':>15} {'ratio':>6}")
    plain = result["rows"][0]["seconds"][0]
    for row in result["rows"]:
        typical, low, high = row["seconds"]
        print(f"{row['path']:<10} {typical:>9.2f} {low:>7.2f}–{high:<7.2f} {plain / typical:>6.2f}")
    print("all answers are equal" if result["equal"] else "the answers differ")


def cost_table(result: dict[str, Any]) -> None:
    """Predicted and actual seconds and memory."""
    print(f"{'setting':<52} {'measuring':>9} {'predicted':>9} {'taken':>7} {'':>7} {'predicted':>12} {'taken':>9}")
    for row in result["rows"]:
        print(
            f"{row['setting']:<52} {row['measuring']:>7.1f} s {row['predicted']:>7.1f} s {row['taken']:>5.1f} s "
            f"{row['predicted'] / row['taken'] - 1:>+7.0%} {row['predicted_bytes'] / 2**20:>8.0f} MiB "
            f"{row['taken_bytes'] / 2**20:>5.0f} MiB {row['predicted_bytes'] / row['taken_bytes'] - 1:>+5.0%}"
        )


def page_table(result: dict[str, Any]) -> None:
    """Medians beside their limits."""
    print(f"{'':<32} {'median':>8} {'least–most':>17} {'limit':>7}")
    for row in result["rows"]:
        limit = f"{row['limit']:g}" + ("" if row["kept"] else " passed")
        spread = f"{row['least']:.3g}–{row['most']:.3g}"
        print(f"{row['name']:<32} {row['typical']:>8.3g} {spread:>17} {row['unit']:<2} {limit}".rstrip())


def load_table(result: dict[str, Any]) -> None:
    """Values beside their limits."""
    print(
        f"{result['sessions']} visitors of a run at work, {result['updates']} updates each, "
        f"{result['pause']:g} s between them; {result['begun_anew']} had the page begin anew"
    )
    for row in result["rows"]:
        limit = "" if row["limit"] is None else f"limit {row['limit']:g}" + ("" if row["kept"] else ", passed")
        print(f"{row['name']:<32} {row['value']:>8.4g} {row['unit']:<3} {limit}".rstrip())


def store_table(result: dict[str, Any]) -> None:
    """Medians in the large store and in one of three runs, and their ratio."""
    print(f"{result['runs']} runs, {result['scalars']:,} scalars, {result['bytes'] / 2**20:,.0f} MiB")
    print(f"{'':<38} {'median s':>9} {'3 runs s':>9} {'ratio':>6} {'limit s':>8}")
    for row in result["rows"]:
        few = "" if row["few"] is None else f"{row['few']:>9.4f} {row['typical'] / row['few']:>6.1f}"
        limit = "" if row["limit"] is None else f"{row['limit']:>8g}" + ("" if row["kept"] else " passed")
        print(f"{row['name']:<38} {row['typical']:>9.4f} {few:>16} {limit}".rstrip())


def presets_table(result: dict[str, Any]) -> None:
    """Averages of FDA from each start by each preset."""
    _compared(result["rows"], {"paper %": "paper", "fast %": "fast"})
    for preset, seconds in result["unit_seconds"].items():
        print(f"{preset}: construction {', '.join(f'{total:.0f}' for total in seconds)} s, summed over units")


def methods_table(result: dict[str, Any]) -> None:
    """Scores of each method with its interval, gap, seconds and memory."""
    print(
        f"{'method':<18}"
        + "".join(f"{task[:9]:>10}" for task in result["tasks"])
        + f"{'average':>9}  {'95 % interval':<14}"
        f"{'seeds':<14}{'over ta':>8}  {'over its start':<22}{'gap':>6}{'seconds':>9}{'anchors s':>10}{'peak MiB':>9}"
    )
    for row in result["rows"]:
        tasks = "".join(f"{100 * score:>10.1f}" for score in row["tasks"].values())
        low, high = row["interval"]
        seeds = (
            f"{100 * min(row['averages']):.1f} to {100 * max(row['averages']):.1f}" if len(row["averages"]) > 1 else ""
        )
        over_ta = "" if row["over_baseline"] is None else f"{100 * row['over_baseline'][0]:+.1f}"
        over_start = ""
        if row["over_start"] is not None:
            over_start = "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * value for value in row["over_start"]))
        gap = "" if row["closed_gap"] is None else f"{row['closed_gap']:.0%}"
        seconds, anchors, peak = (
            "" if value is None else f"{value:.1f}"
            for value in (row["seconds"], row["anchors_seconds"], row["peak_bytes"] and row["peak_bytes"] / 2**20)
        )
        print(
            f"{row['method']:<18}{tasks}{100 * row['average']:>9.1f}  {f'{100 * low:.1f} to {100 * high:.1f}':<14}{seeds:<14}"
            f"{over_ta:>8}  {over_start:<22}{gap:>6}{seconds:>9}{anchors:>10}{peak:>9}"
        )


def construct_table(result: dict[str, Any]) -> None:
    """Milliseconds of a step and seconds to the target, by path."""
    how = (
        "measured"
        if result["target_measured"]
        else "from compiled steps of the same optimiser, whose losses differ by at most "
        f"{result['target_deviation']:.1%} over the stretch of the reference that was run"
    )
    print(
        f"{result['size']} on {result['device']}, {result['threads']} threads: target {result['target']:.4f}, the loss of "
        f"the reference after {result['reference_steps']} steps ({how})"
    )
    titles = f"{'steps':>6} {'seconds':>9} {'ratio':>6} {'of 96':>6} {'ceiling':>8}"
    print(f"{'path':<28} {'ms a step':>10} {'10–90 %':>15} {'compile s':>9} {titles}")
    first = result["paths"][0]["seconds_to_target"]
    for path in result["paths"]:
        typical, low, high = path["step_ms"]
        seconds = path["seconds_to_target"]
        reached = f"{'not reached':>30}"
        if seconds:
            ratios = f"{first / seconds:>6.1f} {path['times_faster_of_zoo'] or 1:>6.1f}"
            reached = f"{path['steps_to_target']:>6} {seconds:>9.1f} {ratios}"
        mark = " extrapolated" if path["extrapolated"] else ""
        print(
            f"{path['path']:<28} {typical:>10.1f} {low:>7.1f}–{high:<7.1f} {path['compile_seconds']:>9.1f} {reached} "
            f"{path['share_of_ceiling']:>8.0%}{mark}"
        )


def mixer_table(result: dict[str, Any]) -> None:
    for row in result["rows"]:
        limit = "" if row["limit"] is None else f"  limit {row['limit']:g}"
        print(f"{row['name']:<26} {row['typical']:>6.0f} {row['unit']}{limit}{'' if row['kept'] else ', passed'}")
    last = result["rows"][-1]
    print(f"least and most: {last['least']:.0f} and {last['most']:.0f} ms")
