"""Check a zoo: what headers and configs say of its models, and one batch of every task through them."""

import sys
from collections.abc import Sequence

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
from fda.zoos.zoo import Zoo, ZooTask

ANSWERED = 4  # samples that the model answers


def preview_zoo(zoo: Zoo) -> Preview:
    """What headers and configs say. UserError if the base cannot be seen, or if the zoo cites a table that is not there."""
    if zoo.cited is not None:
        cited(zoo.cited)
    return preview(zoo)


def print_preview(found: Preview) -> None:
    """A line a model, what will be needed, and all problems but the first, which ends the command; on stderr, as no result."""
    wide = max(len(one.role) for one in found.models)
    for one in found.models:
        told = f"{one.parameters:,} parameters, {one.dtype}" if one.parameters else "its tensors are not known yet"
        where = f"{_size(one.to_download)} to download" if one.to_download else "here"
        print(f"{one.role:<{wide}}  {one.model}: {one.architecture or 'no config'}, {told}, {where}", file=sys.stderr)
    blocks = next((one for one in found.models if one.blocks), None)
    if blocks is not None:
        data = f"{_size(found.data_bytes)} of it for data, " if found.data_bytes else ""
        print(
            f"{blocks.blocks} blocks of {blocks.tensors_per_block} tensors, width {blocks.width}; the paper's settings need "
            f"about {_size(found.memory_bytes)} of memory, {_size(found.disk_bytes)} of disk "
            f"({data}{_size(found.disk_free_bytes)} free) and roughly {_time(found.seconds)} for the anchors on this machine",
            file=sys.stderr,
        )
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    for problem in found.problems[1:]:
        print(f"fda: {problem}", file=sys.stderr)


def try_out(zoo: Zoo) -> None:
    """Open everything, bring what is missing, try samples of every task. UserError with the first problem."""
    opened = counted_on_data(open_zoo(zoo))
    looked = require_finite(opened)
    for note in looked.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"all {looked.values:,} values of {looked.tensors:,} tensors are finite numbers.", file=sys.stderr)
    if opened.model.token_source:
        print(f"{opened.model.tokens:,} tokens an anchor: {opened.model.token_source}.", file=sys.stderr)
    opened.model.load(opened.base)
    for task in opened.zoo.tasks:
        if task.data is not None:
            try:
                notes = _try_task(opened, task)
            except UserError as error:
                said = str(error)
                raise UserError(said if repr(task.name) in said else f"task {task.name!r}: {said}") from None
            for note in notes:
                print(f"note: task {task.name!r}: {note}", file=sys.stderr)
    print(f"{zoo.name}: {len(zoo.tasks)} tasks, {len(opened.model.blocks)} blocks: everything fits together.")


def _try_task(opened: OpenZoo, task: ZooTask) -> list[str]:
    """Samples through the model and the task's head, and all labels against the head; what is to be noted of them."""
    split = load_split(task, task.data.split, opened.model.transform)
    places = split.spread(COUNT)
    notes = [split.skipped, samples_note(split, places)]
    if task.head is None and opened.model.kind == "open_clip":  # nothing that labels could be compared with
        split.labels()
        print(_looked(task, split, places, 0), file=sys.stderr)
        return [note for note in (*notes, split.note) if note is not None]
    head = task_head(opened, task.name)
    answered = split.spread(ANSWERED)
    logits = head.answer(opened.model, split.at(answered))
    metric = scored_by(head, task.data)
    if not head.causal:
        require_labels(metric, split, split.labels(), logits.shape[1])
        notes.append(split.note)
    print(_looked(task, split, places, len(answered)), file=sys.stderr)
    return [note for note in notes if note is not None]


def _looked(task: ZooTask, split: Split, places: Sequence[int], answered: int) -> str:
    """Exactly what was looked at of a task's data."""
    labels = "no labels" if split.label is None else "all labels"
    return (
        f"task {task.name!r}: looked at {len(places)} of {len(split)} samples, drawn evenly over the split "
        f"{task.data.split!r}, and at {labels}; the model answered {answered} of them."
    )


def _size(count: int | None) -> str:
    return "?" if count is None else f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    return f"{seconds / 3600:.0f} h" if seconds >= 3 * 3600 else f"{max(1, round(seconds / 60))} min"
