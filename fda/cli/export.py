"""`python -m fda export`: a merged model of a run as a folder that its library loads, and onto the hub if asked for."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fda.errors import UserError
from fda.home import open_to_others
from fda.store.store import Store

TELL_SECONDS = 1.0  # between two lines of progress


def export(
    run_id: Annotated[str, typer.Argument(help="a run with a comparison, as `python -m fda runs list` names it")],
    method: Annotated[str, typer.Option(help="which of its merged models")],
    out: Annotated[Path, typer.Option(help="the folder to write; it must not be there yet")],
    task: Annotated[str | None, typer.Option(help="a transformers checkpoint's task whose own head goes along")] = None,
    push: Annotated[str | None, typer.Option(help="upload the folder to this hub id, org/name, too")] = None,
    private: Annotated[bool, typer.Option("--private", help="make that repository a private one")] = False,
) -> None:
    """Write a merged model as its library loads it: weights, config, processor, model card."""
    from fda.zoos.upload import require_repository, upload

    if private and push is None:
        raise UserError("--private is about the repository that --push names: add --push ORG/NAME, or leave it out.")
    if push is not None:
        require_repository(push)
    written = export_model_of(Store(), run_id, method, out, task=task, repository=push)
    open_to_others(written)
    print(f"{written}: {sum(file.stat().st_size for file in written.rglob('*')) / 2**20:.1f} MiB")
    if push is not None:
        print(upload(written, push, private=private))


def export_model_of(
    store: Store, run_id: str, method: str, out: Path, *, task: str | None = None, repository: str | None = None
) -> Path:
    """Write one merged model; the folder. `repository`: where its card says that it is.

    UserError if the run has none, or if its checkpoints have changed since.
    """
    from fda.checkpoints.weights import Checkpoint
    from fda.checkpoints.write import kinds_of, write_tensors
    from fda.merging.registry import method as known_method
    from fda.report.model_card import model_card
    from fda.report.model_loading import Loading
    from fda.stages.adapter_frame import frame_of
    from fda.stages.export import export_model, whole_folder
    from fda.store.files import merged_file
    from fda.store.finished import require_whole
    from fda.tasks.heads import Head, task_head
    from fda.zoos.survey import header_problem, open_zoo
    from fda.zoos.upload import stated_licence

    run = store.run(run_id)
    done = [one.method for one in store.results(run_id)[0] if one.state == "done" and one.method != "individual"]
    if method not in done:
        told = f"it has {', '.join(done)}" if done else "it has none: compare methods first"
        raise UserError(f"run {run_id} has no merged model {method!r}; {told}.")
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
        text_tower=built.kind != "open_clip" or opened.model.has_text_tower(opened.base),
        task=task,
        heads=beside,
    )
    base = Path(opened.zoo.base.model)
    licence = stated_licence(run.spec.zoo.base.model, base, ask=repository is not None)
    card = model_card(store, run, method, loading, licence=licence)
    with whole_folder(out) as folder:
        export_model(built, merged, folder, pulse=_progress())
        for name in beside:
            head = task_head(opened, name)
            if isinstance(head, Head):
                tensors = head.tensors
                write_tensors(
                    folder / "heads" / f"{name}.safetensors", kinds_of(tensors), tensors.items(), {"task": name}
                )
        (folder / "README.md").write_text(card, encoding="utf-8")
    return out


def _progress() -> Callable[[float], None]:
    """Tells the share that is written on stderr, now and then; a page that started the export reads it there."""
    told = time.monotonic()

    def tell(share: float) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_SECONDS:
            told = time.monotonic()
            print(f"fda: written {share:.0%}".replace("%", " %"), file=sys.stderr, flush=True)

    return tell
