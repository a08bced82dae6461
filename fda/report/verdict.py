"""The verdict on a run that has ended: at most three sentences, from its numbers alone.

Whether its anchors converged, what FDA adds to the best method without data, and what to try next. `verdict_numbers.py` reads
the numbers. Imports no streamlit and no torch.
"""

import math
import statistics
from collections.abc import Mapping

from fda.analysis.norms import times_the_others
from fda.measures import ANGLE_LOSS, COSINES
from fda.merging.registry import METHODS
from fda.report.comparison import titles
from fda.report.comparison_figures import PERCENT
from fda.report.format import plural
from fda.report.verdict_numbers import Gain, UnitNumbers, VerdictNumbers, read_numbers
from fda.store.records import Run
from fda.store.store import Store

KINDS = ("construct", "compare", "demo")  # a landscape has a sentence of its own, and helper runs have no results
HIGH = 1.5  # highest loss / median of the units; on the demo it is 1.4
LEAST_UNITS = 3  # the median of two is their mean, which tells nothing about either
LONG = 10.0  # task vector / median of the others: its part of a sum then has 100 times the energy of another's
MOST_NAMED = 3  # tasks in a sentence


def verdict_of(store: Store, run: Run) -> list[str]:
    """The verdict on a run; empty while it is active, for a landscape, and where there is nothing to say."""
    return [] if run.active or run.kind not in KINDS else verdict(read_numbers(store, run))


def verdict(numbers: VerdictNumbers) -> list[str]:
    """At most three sentences: whether anchors converged, what FDA adds, what to try next."""
    sentences = (convergence(numbers), added_value(numbers), next_step(numbers))
    return [sentence for sentence in sentences if sentence is not None]


# did the anchors converge -------------------------------------------------------------------------------------------


def convergence(numbers: VerdictNumbers) -> str | None:
    """How many units converged, and the one with the highest loss if it fell short or stands out. None without curves."""
    units = numbers.units
    if not units:
        return None
    converged = numbers.with_course("converged")
    short = [unit for unit in units if unit.course != "converged"]
    words = [_counted(len(converged), len(units), numbers.anchors_run)]
    highest = max(short or units, key=lambda unit: unit.loss)
    ratio = highest.loss / statistics.median(unit.loss for unit in units)
    stands_out = ratio >= HIGH and len(units) >= LEAST_UNITS
    if short or stands_out:
        level = f" ({ratio:.1f} times the median)" if stands_out else ""
        words.append(_fell_short(highest, level, others=len(short) > 1))
    if numbers.unfinished:
        words.append(f"{plural(numbers.unfinished, 'unit')} did not finish")
    return "; ".join(words) + "."


def _counted(converged: int, units: int, anchors_run: str | None) -> str:
    of_run = f" of run {anchors_run}" if anchors_run else ""
    if units == 1:
        return f"The one unit{of_run} {'converged' if converged else 'did not converge'}"
    if converged == units:
        return f"All {units} units{of_run} converged"
    return f"{converged or 'None'} of {units} units{of_run} converged"


def _fell_short(unit: UnitNumbers, level: str, *, others: bool) -> str:
    """A clause on the unit; `level` compares its loss with the median, `others`: it is not the only one."""
    loss = _loss(unit.loss)
    name = f"the worst, {unit.name}," if others else unit.name
    clause = {
        "converged": f"{name} stands out at loss {loss}{level}",
        "falling": f"{name} stopped at loss {loss}{level} and was still falling",
        "risen": f"{name} rose from its lowest loss, {_loss(unit.lowest)}, to {_loss(unit.last)}",
        "stuck": f"{name} hardly fell, from loss {_loss(unit.first)} to {loss}{level}",
    }[unit.course]
    if unit.weakest is None:
        return clause
    tensor, cosine = unit.weakest
    return f"{clause}; its lowest cosine is {_minus(f'{cosine:{COSINES.number}}')} ({tensor})"


def _loss(value: float) -> str:
    return f"{value:{ANGLE_LOSS.number}}"


# what FDA adds ------------------------------------------------------------------------------------------------------


def added_value(numbers: VerdictNumbers) -> str | None:
    """The best FDA method against the best method without data, with the interval of their difference."""
    gain, scores = numbers.gain, numbers.scores
    if gain is None or scores is None:
        return None
    names, only_task = titles([gain.best, gain.baseline]), len(scores.tasks) == 1
    where = f"on {scores.tasks[0]}" if only_task else "on average"
    if gain.sign():
        size = f"{_value(abs(gain.of()))} points {'above' if gain.sign() > 0 else 'below'}"
        compared, baseline = f"{size} the best method without data", names[gain.baseline]
    else:
        compared = "no clear difference from the best method without data"
        baseline = f"{names[gain.baseline]}, {_signed(gain.of())} points"
    if "individual" in scores.methods:
        where += f" (individual models {_percent(scores.of('individual'))})"
    sentence = f"{names[gain.best]} reaches {_percent(scores.of(gain.best))} {where}, {compared}"
    sentence += f" ({baseline}, {_interval(gain)})"
    return f"{sentence}." if only_task else f"{sentence}, and {_losses(gain)}."


def _interval(gain: Gain) -> str:
    if not gain.has_interval:
        return "no interval, since the run kept no answers"
    low, high = gain.differences.interval_of(gain.best)
    return f"{PERCENT} interval {_value(low)} to {_value(high)}"


def _losses(gain: Gain) -> str:
    verb = "loses clearly on" if gain.has_interval else "is lower on"
    named = [f"{task} ({_signed(gain.of(task))})" for task in gain.lost]
    if len(named) > MOST_NAMED:
        named = [*named[:MOST_NAMED], f"{len(named) - MOST_NAMED} more"]
    *most, last = named or ["no task"]
    return f"{verb} {', '.join(most)} and {last}" if most else f"{verb} {last}"


def _percent(share: float) -> str:
    return f"{_value(share)} %"


def _value(share: float) -> str:
    return _minus(f"{100 * share:.1f}")


def _signed(share: float) -> str:
    return _minus(f"{100 * share:+.1f}")


def _minus(number: str) -> str:
    return number.replace("-", "−")


# what to try next ---------------------------------------------------------------------------------------------------


def next_step(numbers: VerdictNumbers) -> str | None:
    """The first of these that applies: an expert to look at, a lower rate, more steps, another start.

    An expert that outweighs all others spoils any merge of them; anchors that did not converge come before what reads them.
    """
    return _expert(numbers.norms) or _lower_rate(numbers) or _more_steps(numbers) or _another_start(numbers)


def _expert(norms: Mapping[str, float]) -> str | None:
    if len(norms) < 2:
        return None
    task = max(norms, key=norms.__getitem__)
    ratio = times_the_others(norms)[task]
    if math.isinf(ratio) or ratio < LONG:
        return None
    return (
        f"Look at the model of {task}: its task vector is {ratio:.1f} times as long as the median of the "
        "others and outweighs them where they are added; see whether it was finetuned from this base, or merge without it."
    )


def _lower_rate(numbers: VerdictNumbers) -> str | None:
    risen = numbers.with_course("risen")
    if not risen:
        return None
    return (
        f"Try a learning rate below {numbers.learning_rate:g}: the loss of {plural(len(risen), 'unit')} rose again after "
        "its lowest value."
    )


def _more_steps(numbers: VerdictNumbers) -> str | None:
    falling = numbers.with_course("falling")
    if not falling:
        return None
    steepest = max(falling, key=lambda unit: unit.fall * unit.loss)
    whose = steepest.name if len(falling) == 1 else f"{len(falling)} units"
    which = "" if len(falling) == 1 else f" that of {steepest.name}"
    steep = f"{which} by {_percent(steepest.fall)} from step {steepest.half} to step {steepest.end}"
    return f"Try more than {plural(numbers.steps, 'step')}: the loss of {whose} was still falling,{steep}."


def _another_start(numbers: VerdictNumbers) -> str | None:
    """Where FDA is not clearly ahead although the anchors of the tasks in question converged."""
    gain = numbers.gain
    if gain is None or (gain.sign() > 0 and not gain.lost):
        return None
    asked = [unit for unit in numbers.units if not gain.lost or unit.task in gain.lost]
    if not asked or any(unit.course != "converged" for unit in asked):
        return None
    start = f"fda:{gain.baseline}"
    if start in METHODS and start not in numbers.fda:
        return (
            f"Try another start: {METHODS[start].title} adapts {METHODS[gain.baseline].title} itself on these anchors."
        )
    return _better_start(numbers, gain)


def _better_start(numbers: VerdictNumbers, gain: Gain) -> str | None:
    """Another FDA method of the run that is clearly better on the task that the best one loses most on."""
    scores = numbers.scores
    if scores is None or not gain.lost:
        return None
    task = gain.lost[0]
    other = max(numbers.fda, key=lambda method: scores.of(method, task))
    if numbers.against(other, gain.best).sign(task) <= 0:
        return None
    names = titles([other, gain.best])
    return (
        f"Try another start: {names[other]} reaches {_percent(scores.of(other, task))} on {task}, {names[gain.best]} "
        f"{_percent(scores.of(gain.best, task))}."
    )
