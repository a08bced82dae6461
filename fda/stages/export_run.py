"""Export a merged model of a run: the run's checkpoints, its merged file, its heads and its card in one folder."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fda.cancel import Cancel
from fda.checkpoints.weights import Checkpoint
from fda.checkpoints.write import kinds_of, write_tensors
from fda.errors import UserError
from fda.home import open_to_others
from fda.merging.methods.mix import is_mix
from fda.merging.registry import method as known_method
from fda.report.model_card import model_card
from fda.report.model_loading import Loading
from fda.requests.recipe import kept_recipe, recipe_text
from fda.stages.adapter_frame import frame_of
from fda.stages.export import Progress, export_model, whole_folder
from fda.store.files import merged_file
from fda.store.finished import require_whole
from fda.store.records import Run, UnitKey
from fda.store.spec import ExportSettings
from fda.store.store import Store
from fda.tasks.heads import Head, task_head
from fda.zoos.survey import header_problem, open_zoo
from fda.zoos.upload import stated_licence

if TYPE_CHECKING:
    from fda.architectures.open_clip_model import VisionModel

SECONDS = 0.5  # between two entries of progress


def export_of_run(store: Store, run_id: str, asked: ExportSettings, cancel: Cancel) -> None:
    """Carry out a run that exports. Its unit counts the bytes that are written."""
    key, last = UnitKey("export", asked.method), 0.0
    store.add_units(run_id, [(key, 0)])
    store.update_unit(run_id, key, state="running", step=0)

    def progress(written: int, total: int) -> None:
        nonlocal last
        cancel.check()
        if time.monotonic() - last >= SECONDS or written == total:
            last = time.monotonic()
            store.update_unit(run_id, key, step=written, steps=total)

    folder = export_model_of(store, asked.run_id, asked.method, Path(asked.folder), task=asked.task, progress=progress)
    open_to_others(folder)
    store.update_unit(run_id, key, state="done")


def export_model_of(
    store: Store,
    run_id: str,
    method: str,
    out: Path,
    *,
    task: str | None = None,
    repository: str | None = None,
    progress: Progress = lambda *_: None,
) -> Path:
    """Write one merged model; the folder. `repository`: where its card says that it is. `progress`: as in `export_model`.

    UserError if the run has none, or if its checkpoints have changed since.
    """

    run = store.run(run_id)
    done = [one.method for one in store.results(run_id)[0] if one.state == "done" and one.method != "individual"]
    if method not in done:
        there = f"it has {', '.join(done)}" if done else "it has none: compare methods first"
        raise UserError(f"run {run_id} has no merged model {method!r}; {there}.")
    path = merged_file(store.run_dir(run_id), known_method(method).name)
    if not path.is_file():
        raise UserError(f"{path} is gone, the merged model of {method}: compare the methods again.")
    require_whole(store, run_id, path)
    if task is not None and task not in run.spec.tasks:
        raise UserError(f"run {run_id} has no task {task!r}: it has {', '.join(run.spec.tasks)}.")
    opened, merged = open_zoo(run.spec.zoo, run.spec.tasks), Checkpoint(path)
    shapes = {name: info.shape for name, info in opened.base.header.items()}
    if wrong := header_problem(shapes, merged, "the base that the zoo names now"):
        raise UserError(wrong)
    built = frame_of(opened, task)
    beside = [name for name in run.spec.tasks if opened.zoo.task(name).head is not None]
    loading = Loading(
        built.kind,
        built.architecture,
        images=getattr(opened.model, "images", True),
        location=repository or out.resolve().name,
        pushed=repository is not None,
        causal=getattr(opened.model, "causal", False),
        text_tower=built.kind != "open_clip" or cast("VisionModel", opened.model).has_text_tower(opened.base),
        task=task,
        heads=beside,
    )
    base = Path(opened.zoo.base.model)
    licence = stated_licence(run.spec.zoo.base.model, base, ask=repository is not None)
    card = model_card(store, run, method, loading, licence=licence)
    with whole_folder(out) as folder:
        export_model(built, merged, folder, progress=progress, metadata=_recipe(run, known_method(method).name))
        for name in beside:
            head = task_head(opened, name)
            if isinstance(head, Head):
                tensors = head.tensors
                write_tensors(
                    folder / "heads" / f"{name}.safetensors", kinds_of(tensors), tensors.items(), {"task": name}
                )
        (folder / "README.md").write_text(card, encoding="utf-8")
    return out


def _recipe(run: Run, method: str) -> dict[str, str]:
    """The metadata of a mix's files: its recipe."""
    if not is_mix(method):
        return {}
    recipe = kept_recipe(run.spec.hyperparameters.get(method, {}), method, run.spec.zoo, run.spec.tasks)
    return {"recipe": recipe_text(recipe)}
