"""The cards of the view Examples as HTML: a sample, its true class, and what two methods say of it. Imports no streamlit."""

import base64
from collections.abc import Iterable

from fda.escape import html
from fda.figures.theme import PALETTES, Theme
from fda.report.examples import Pair
from fda.store.examples import Samples


def cards(pair: Pair, indices: Iterable[int], samples: Samples | None, theme: Theme) -> str:
    """A list with a card for each of these samples; `samples` holds what there is to see of them."""
    palette = PALETTES[theme]
    kind = "texts" if samples is not None and samples.kind == "text" else "pictures"
    items = "".join(f"<li>{_card(pair, int(index), samples)}</li>" for index in indices)
    colours = f"--right: {palette.accent}; --wrong: {palette.low}; --line: {palette.grid}; --card: {palette.surface}"
    label = f"Samples of {html(pair.task)}"
    return f'<ul class="fda-figure fda-examples {kind}" style="{colours}" aria-label="{label}">{items}</ul>'


def _card(pair: Pair, index: int, samples: Samples | None) -> str:
    truth = pair.name(int(pair.before.label[index]))
    true_class = f"<span>true: <b>{html(truth)}</b></span>" if pair.before.of_classes else "<span></span>"
    return (
        _sample(samples, index, f"sample {index} of {pair.task}, true class {truth}")
        + f'<div class="truth">{true_class}<span>no. {index}</span></div>'
        + _said(pair, index, after=False)
        + _said(pair, index, after=True)
    )


def _sample(samples: Samples | None, index: int, alt: str) -> str:
    if samples is None:
        return ""
    content = samples.content.get(index)
    if content is None:
        return '<div class="none">not kept with the run</div>'
    if samples.kind == "text":
        return f'<p class="text" tabindex="0">{html(content.decode(errors="replace"))}</p>'
    source = base64.b64encode(content).decode()
    return f'<img src="data:image/webp;base64,{source}" alt="{html(alt)}">'


def _said(pair: Pair, index: int, *, after: bool) -> str:
    """A method's answer with a mark and, if it is stored, its probability and the next likeliest classes."""
    answers = pair.after if after else pair.before
    right, title = bool(answers.correct[index]), pair.titles[after]
    mark = "✓" if right else "✗"
    said = pair.name(int(answers.predicted[index]))
    likeliest = pair.likeliest(index, after=after)
    parts = [
        f'<span class="method">{html(title)}</span>',
        f'<span class="class"><span aria-label="{"right" if right else "wrong"}" role="img">{mark}</span> {html(said)}</span>',
    ]
    if likeliest:
        percent = 100 * min(1.0, max(0.0, likeliest[0][1]))
        others = " · ".join(f"{html(name)} ({100 * probability:.0f} %)" for name, probability in likeliest[1:])
        parts += [
            f'<span class="percent">{percent:.0f} %</span>',
            f'<span class="bar"><span style="width: {percent:.0f}%"></span></span>',
            f'<span class="others">then {others}</span>' if others else "",
        ]
    return f'<div class="said {"right" if right else "wrong"}">{"".join(parts)}</div>'
