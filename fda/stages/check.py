"""`zoo check`: print what headers and configs say of a zoo's models, and run a batch of every task through them."""

import sys

from fda.errors import UserError
from fda.report.cited import cited
from fda.requests.preview import Preview, preview
from fda.tasks.data import Split, load_split
from fda.tasks.evaluate import require_labels, scored_by
from fda.tasks.first_samples import COUNT, samples_note
from fda.tasks.heads import task_head
from fda.tasks.image_sizes import counted_on_data
from fda.zoos.finite import require_finite
from fda.zoos.survey import OpenZoo, open_zoo
from fda.zoos.zoo import TaskData, Zoo, ZooTask

ANSWERED = 4  # samples that the model answers


def preview_zoo(zoo: Zoo) -> Preview:
    """What headers and configs say. UserError if the base cannot be seen, or if the zoo cites a table that is not there."""
    if zoo.cited is not None:
        cited(zoo.cited)
    return preview(zoo)


def print_preview(preview: Preview) -> None:
    """Print to stderr a line a model, the requirements, and all problems but the first, which the command raises."""
    width = max(len(model.role) for model in preview.models)
    for model in preview.models:
        size = (
            f"{model.parameters:,} parameters, {model.dtype}" if model.parameters else "its tensors are not known yet"
        )
        where = f"{_size(model.to_download)} to download" if model.to_download else "here"
        print(
            f"{model.role:<{width}}  {model.model}: {model.architecture or 'no config'}, {size}, {where}",
            file=sys.stderr,
        )
    with_blocks = next((model for model in preview.models if model.blocks), None)
    if with_blocks is not None:
        data = f"{_size(preview.data_bytes)} of it for data, " if preview.data_bytes else ""
        print(
            f"{with_blocks.blocks} blocks of {with_blocks.tensors_per_block} tensors, width {with_blocks.width}; "
            f"the paper's settings need about {_size(preview.memory_bytes)} of memory, {_size(preview.disk_bytes)} of disk "
            f"({data}{_size(preview.disk_free_bytes)} free) and roughly {_time(preview.seconds)} for the anchors on this "
            "machine",
            file=sys.stderr,
        )
    for note in preview.notes:
        print(f"note: {note}", file=sys.stderr)
    for problem in preview.problems[1:]:
        print(f"fda: {problem}", file=sys.stderr)


def try_out(zoo: Zoo) -> None:
    """Download and open everything and try samples of every task. UserError with the first problem."""
    opened = counted_on_data(open_zoo(zoo))
    checked = require_finite(opened)
    for note in checked.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"all {checked.values:,} values of {checked.tensors:,} tensors are finite numbers.", file=sys.stderr)
    if opened.model.token_source:
        print(f"{opened.model.tokens:,} tokens an anchor: {opened.model.token_source}.", file=sys.stderr)
    opened.model.load(opened.base)
    for task in opened.zoo.tasks:
        if task.data is not None:
            try:
                notes = _try_task(opened, task, task.data)
            except UserError as error:
                sentence = str(error)
                named = repr(task.name) in sentence
                raise UserError(sentence if named else f"task {task.name!r}: {sentence}") from None
            for note in notes:
                print(f"note: task {task.name!r}: {note}", file=sys.stderr)
    print(f"{zoo.name}: {len(zoo.tasks)} tasks, {len(opened.model.blocks)} blocks: everything fits together.")


def _try_task(opened: OpenZoo, task: ZooTask, data: TaskData) -> list[str]:
    """Run samples through the model and the task's head and check all labels against the head; return notes."""
    split = load_split(task, data.split, opened.model.transform)
    indices = split.spread(COUNT)
    notes = [split.skipped, samples_note(split, indices)]
    if task.head is None and opened.model.kind == "open_clip":  # no head to compare labels with
        split.labels()
        print(_summary(task.name, data.split, split, len(indices), 0), file=sys.stderr)
        return [note for note in (*notes, split.note) if note is not None]
    head = task_head(opened, task.name)
    answered = split.spread(ANSWERED)
    logits = head.answer(opened.model, split.at(answered))
    metric = scored_by(head, data)
    if not head.causal:
        require_labels(metric, split, split.labels(), logits.shape[1])
        notes.append(split.note)
    print(_summary(task.name, data.split, split, len(indices), len(answered)), file=sys.stderr)
    return [note for note in notes if note is not None]


def _summary(task: str, name: str, split: Split, samples: int, answered: int) -> str:
    """Which parts of a task's data were checked."""
    labels = "no labels" if split.label is None else "all labels"
    return (
        f"task {task!r}: looked at {samples} of {len(split)} samples, drawn evenly over the split "
        f"{name!r}, and at {labels}; the model answered {answered} of them."
    )


def _size(count: int | None) -> str:
    return "?" if count is None else f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    return f"{seconds / 3600:.0f} h" if seconds >= 3 * 3600 else f"{max(1, round(seconds / 60))} min"
