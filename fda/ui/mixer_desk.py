"""What one visitor's Mixer holds: the mix, its scores, the baseline, history, trail and search. Imports no streamlit.

The page's script and the feed, which answers a slider's moves in a thread of its own, share it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from fda.analysis.lambda_search import Lambdas, search
from fda.errors import UserError
from fda.figures.mixer import AVERAGE, Ground, mix_plane, search_trace
from fda.figures.theme import Theme, series_colour, to_json
from fda.jobs.mixer_messages import SAMPLES, About, Answer, MixRequest, Pictures, Place, Prediction, Progress, TaskAbout
from fda.jobs.mixers import Mixer, MixerEnded, OnProgress, Superseded
from fda.report.format import size
from fda.requests.recipe import Part, Recipe, formula
from fda.ui.feed import BEGIN_ANEW
from fda.ui.mixer_history import History
from fda.ui.mixer_recipe import LEAST, MOST, lambdas_of, with_lambdas, with_part
from fda.zoos.zoo import Zoo

SHOWN = 30  # samples that the desk shows, of all tasks
TRAIL = 200  # places kept
PLANE, TRACE = "mixer-plane", "mixer-trace"  # keys of `plot`
WORST = "worst task"
GOALS = (AVERAGE, WORST)
NEXT, HOW_FAR = "next", "progress"  # what the element asks the feed for beside new λ
BUDGET = 40  # evaluations of a search


@dataclass
class Proposal:
    """A search of λ on the validation samples. `tried`: λ of each evaluation and its goal, 0..1."""

    goal: str
    budget: int
    start: Lambdas
    tried: list[tuple[Lambdas, float]] = field(default_factory=list)
    ended: bool = False

    def __post_init__(self) -> None:
        low, high = min(LEAST, *self.start), max(MOST, *self.start)
        self._search = search(self.start, bounds=(low, high), budget=self.budget)
        self.wanted: Lambdas = next(self._search)

    def tell(self, value: float) -> None:
        """The goal at `wanted`: go on to the next, or end with the best as `wanted`."""
        self.tried.append((self.wanted, value))
        try:
            self.wanted = self._search.send(value)
        except StopIteration as end:
            self.wanted, self.ended = end.value, True

    @property
    def best(self) -> tuple[Lambdas, float]:
        return max(self.tried, key=lambda one: one[1])


@dataclass
class Desk:
    """`usual`: the mix that it begins with. `part`: whose λ the sliders show. `baseline`: the pinned mix, with its title.

    `answer`: to the mix and baseline `answered`, None until one came. `problem`: what went wrong since the page's
    script last ran. `kept`: the run that scores the last kept mix on the test split.
    """

    zoo: Zoo
    mixer: Mixer
    recipe: Recipe
    usual: Recipe
    baseline: Recipe
    baseline_title: str = "default"
    theme: Theme = "light"
    part: int = 0
    samples: int = SAMPLES
    about: About | None = None
    answer: Answer | None = None
    answered: tuple[Recipe, Recipe] | None = None
    pictures: dict[str, Pictures] = field(default_factory=dict)
    ground: Ground | None = None
    trail: list[Place] = field(default_factory=list)
    history: History = field(default_factory=History)
    proposal: Proposal | None = None
    progress: Progress = field(default_factory=lambda: Progress(text=""))
    problem: str | None = None
    kept: str | None = None

    # asking ----------------------------------------------------------------------------------------------------------

    def open(self, on_progress: OnProgress) -> About:
        """Start the process, if need be, and read what is shown. UserError as `Mixer.about`."""
        if self.about is None or not self.mixer.running:
            self.about = self.mixer.about(on_progress)
            self.samples = min(self.samples, self.about.largest)
            self.pictures = self.mixer.pictures(self.shown())
            self.answer = None  # its place may be on another plane
        return self.about

    def ask(self, on_progress: OnProgress) -> Answer:
        """The scores of the mix and the baseline, by the process only if they are others than the last.

        Superseded if a newer question came. UserError for a mix that cannot be made: the last that could is there again.
        """
        asked = self.recipe, self.baseline
        if self.answer is None or self.answered != asked:
            recipe, baseline = (one.content() for one in asked)
            request = MixRequest(recipe=recipe, baseline=baseline, samples=self.samples, shown=self.shown())
            self.progress = Progress(text="scoring the mix")
            try:
                answer = self.mixer.ask(request, on_progress)
            except MixerEnded:
                raise
            except UserError:
                self.recipe, self.baseline = self.answered or (self.usual, self.usual)
                raise
            self.answer, self.answered = answer, asked
            if answer.place is not None:
                self.trail = [*self.trail[1 - TRAIL :], answer.place]
        return self.answer

    def shown(self) -> dict[str, tuple[int, ...]]:
        """Task → the samples that the desk shows, about SHOWN in all."""
        assert self.about is not None
        tasks = [one for one in self.about.tasks if one.name in self.tasks]
        each = max(1, SHOWN // len(tasks))
        return {one.name: one.shown[:each] for one in tasks}

    # the mix ---------------------------------------------------------------------------------------------------------

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.recipe.merged_tasks(self.zoo)

    @property
    def chosen(self) -> Part:
        """The part whose λ the sliders show."""
        return self.recipe.parts[min(self.part, len(self.recipe.parts) - 1)]

    @property
    def lambdas(self) -> Lambdas:
        return lambdas_of(self.chosen, self.recipe, self.zoo)

    def with_lambdas(self, lambdas: Sequence[float]) -> Recipe:
        """The recipe with these λ in the chosen part."""
        part = with_lambdas(self.chosen, lambdas, self.recipe, self.zoo)
        return with_part(self.recipe, min(self.part, len(self.recipe.parts) - 1), part)

    def goal(self, goal: str, answer: Answer) -> float:
        """The value to raise, 0..1: the average, or the lowest share of its expert's score that a task keeps."""
        if goal == AVERAGE:
            return average(answer, self.tasks)
        shares = [answer.mix.tasks[task] / max(answer.individual.tasks[task], 1e-9) for task in self.tasks]
        return min(shares)

    def remember(self) -> None:
        """Put the mix into the history: the reader has looked at it."""
        if self.answer is not None and self.answered is not None:
            mix, _ = self.answered
            count = sum(self.answer.samples.values())
            self.history.add(mix, formula(mix, self.zoo), self.answer.mix.tasks, count)

    # the feed --------------------------------------------------------------------------------------------------------

    def feed(self, asked: str) -> dict[str, Any]:
        """Answer the element: to new λ as a JSON list, to NEXT of a search, to HOW_FAR. See `fda.ui.feed.Feed`."""
        if asked == HOW_FAR:
            return {"progress": self.progress.text, "share": self.progress.share}
        try:
            if asked == NEXT:
                return self._search_on()
            self.recipe = self.with_lambdas(self._read(asked))
            self.ask(self._note)
        except Superseded:
            return {"superseded": True}
        except UserError as error:  # the page's script says it, and starts a new process if this one has ended
            self.problem = str(error)
            if self.proposal is not None:
                self.proposal.ended = True
            if isinstance(error, MixerEnded):
                self.about = None
            return BEGIN_ANEW
        return self.update()

    def _note(self, progress: Progress) -> None:
        self.progress = progress

    def _read(self, asked: str) -> list[float]:
        """λ from a browser: one finite number a task."""
        try:
            values = [float(value) for value in json.loads(asked)]
        except (ValueError, TypeError):
            values = []
        if len(values) != len(self.tasks) or not all(math.isfinite(value) for value in values):
            raise UserError("the sliders do not fit the mix: reload the page.")
        return values

    def _search_on(self) -> dict[str, Any]:
        """One evaluation of the search; after the last, the best mix found."""
        proposal = self.proposal
        if proposal is None:
            return BEGIN_ANEW
        self.recipe = self.with_lambdas(proposal.wanted)
        answer = self.ask(self._note)
        if proposal.ended:
            return self.update() | {"ended": True}
        proposal.tell(self.goal(proposal.goal, answer))
        return self.update()

    # what the element shows ------------------------------------------------------------------------------------------

    def update(self, *, figures: bool = True) -> dict[str, Any]:
        """The scores, flips, formula and, if asked for, figures of the answer, as JSON values."""
        answer = self.answer
        assert answer is not None and self.answered is not None
        mix, _ = self.answered
        drawn = {PLANE: self.plane_figure()} if figures else {}
        if figures and self.proposal is not None:
            drawn[TRACE] = to_json(self.trace_figure(self.proposal))
        count = sum(answer.samples.values())
        return {
            "seen": str(answer.generation),
            "lambdas": self.lambdas,
            "scores": [_finite(answer.mix.tasks[task]) for task in self.tasks],
            "average": _finite(average(answer, self.tasks)),
            "said": [self._said(task) for task in self.tasks],
            "formula": formula(mix, self.zoo),
            "line": f"{count:,} validation samples, {1000 * answer.seconds:.0f} ms, {size(answer.resident_bytes)} of memory",
            "note": answer.note or "",
            "figures": {key: figure for key, figure in drawn.items() if figure},
        }

    def channels(self) -> list[dict[str, Any]]:
        """What does not change while sliders move: each task's name, colour, samples, expert's and baseline's scores."""
        answer = self.answer
        assert answer is not None and self.about is not None
        channels = []
        for index, one in enumerate(self.about.tasks):
            if one.name in self.tasks:
                pictures = self.pictures.get(one.name)
                channels.append(
                    {
                        "name": one.name,
                        "colour": series_colour(index, self.theme),
                        "expert": _finite(answer.individual.tasks[one.name]),
                        "baseline": _finite(answer.baseline.tasks[one.name]) if answer.baseline else None,
                        "samples": [_sample(one, pictures, index) for index in self.shown()[one.name]],
                    }
                )
        return channels

    def averages(self) -> dict[str, float | None]:
        """The experts' and the baseline's average."""
        answer = self.answer
        assert answer is not None
        scores_of = {"expert": answer.individual.tasks, "baseline": answer.baseline.tasks if answer.baseline else None}
        return {name: _finite(_mean(scores, self.tasks)) if scores else None for name, scores in scores_of.items()}

    def plane_figure(self) -> str | None:
        """JSON of the plane with the trail; None where there is no plane."""
        plane = self.about.plane if self.about is not None else None
        if plane is None or not self.trail:
            return None
        experts = {task: plane.tasks.get(task) if task in self.tasks else None for task in self.zoo.task_names}
        kept = f"{plane.landscape} {self.zoo.name}"
        return to_json(mix_plane(self.trail, experts, plane.sum, self.theme, ground=self.ground, uirevision=kept))

    def trace_figure(self, proposal: Proposal) -> go.Figure:
        values = [100 * value for _, value in proposal.tried]
        return search_trace(values, self.theme, goal=proposal.goal, uirevision=str(id(proposal)))

    def _said(self, task: str) -> list[dict[str, Any]]:
        """What the mix says of each shown sample, and of those that flip, what the baseline says."""
        answer = self.answer
        assert answer is not None and self.about is not None
        about = next(one for one in self.about.tasks if one.name == task)
        before = {one.index: one for one in answer.baseline.shown[task]} if answer.baseline else {}
        return [_said(about, one, before.get(one.index)) for one in answer.mix.shown[task]]


def average(answer: Answer, tasks: Sequence[str]) -> float:
    return _mean(answer.mix.tasks, tasks)


def _mean(scores: Mapping[str, float], tasks: Sequence[str]) -> float:
    return sum(scores[task] for task in tasks) / len(tasks)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _said(about: TaskAbout, one: Prediction, before: Prediction | None) -> dict[str, Any]:
    flipped = before is not None and before.right != one.right
    return {
        "says": class_name(about, one.predicted),
        "right": None if about.metric == "pearson" else one.right,
        "flipped": class_name(about, before.predicted) if flipped and before is not None else None,
    }


def class_name(about: TaskAbout, label: float) -> str:
    """The name of a class, or the number for a metric without classes."""
    if about.metric == "pearson" or not math.isfinite(label):
        return f"{label:.2f}"
    number = int(label)
    return about.classes[number] if about.classes is not None and 0 <= number < len(about.classes) else str(number)


def _sample(about: TaskAbout, pictures: Pictures | None, index: int) -> dict[str, Any]:
    """One shown sample: a picture as data URL with alternative text, or a text."""
    if pictures is None or index not in pictures.content:
        return {"image": None, "text": f"no. {index}", "alt": "", "truth": "unknown"}
    truth = class_name(about, pictures.labels[index])
    if pictures.kind == "text":
        return {"image": None, "text": pictures.decoded()[index].decode(errors="replace"), "alt": "", "truth": truth}
    source = f"data:image/webp;base64,{pictures.content[index]}"
    return {"image": source, "text": None, "alt": f"sample {index} of {about.name}, true class {truth}", "truth": truth}
