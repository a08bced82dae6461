"""Finished construct runs with generated numbers, written through the store's own interface: what the Anchors page reads."""

import json
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import save_file

from fda.anchors.construct import spaced_steps
from fda.requests.runs import construct_settings, make_spec
from fda.store.files import anchors_file
from fda.store.records import UnitKey
from fda.store.store import Store

TENSORS = ("ln_1.weight", "ln_1.bias", "attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight",
           "attn.out_proj.bias", "ln_2.weight", "ln_2.bias", "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight",
           "mlp.c_proj.bias")  # fmt: skip
SHARES = 50
NEAR = 5


def made_zoo(folder: Path, tasks: tuple[str, ...]) -> Path:
    """A zoo file whose checkpoints are named but empty: all that pages themselves read."""
    entries = []
    for name in tasks:
        (folder / name).mkdir(parents=True)
        (folder / f"{name}.safetensors").touch()
        data = {"path": name, "split": "test"}
        entries.append({"name": name, "model": name, "head": f"{name}.safetensors", "data": data})
    (folder / "base").mkdir()
    path = folder / "zoo.yaml"
    path.write_text(yaml.safe_dump({"name": "made", "base": {"model": "base"}, "tasks": entries}))
    return path


def made_run(
    store: Store,
    zoo: Path,
    *,
    tasks: tuple[str, ...] = (),
    blocks: int = 2,
    width: int = 40,
    steps: int = 60,
    anchors: int = 12,
    real: int = 9,
    seed: int = 0,
    old: bool = False,
    texts: bool = False,
    **start: object,
) -> str:
    """A finished run; `old`: with no more than versions recorded that knew spectra and one similarity.

    Every spectrum of block b at the snapshot of rank r is exp(−(1 + b + seed)·r·i/d) at index i: exact to check against.
    """
    settings = construct_settings("fast", steps=steps, anchors=anchors, seed=seed, **start)
    spec = make_spec(zoo, tasks=tasks, construct=settings, device="cpu", seed=seed)
    run_id = store.create_run(spec)
    at = list(spaced_steps(steps))
    random = np.random.default_rng(seed)
    keys = [UnitKey("construct", task, block) for task in spec.tasks for block in range(blocks)]
    store.add_units(run_id, [(key, steps) for key in keys])
    for key in keys:
        path = anchors_file(store.run_dir(run_id), key.name, key.block)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"anchors": np.zeros((1, 1, 1), np.float32)}, path)
        rows = [("angle_loss", step, 1.0 / (2 + step)) for step in range(steps)]
        for rank, step in enumerate(at):
            done = rank / max(1, len(at) - 1)
            spectrum = np.exp(-(1 + key.block + seed) * rank * np.arange(width) / width)
            store.add_snapshot(run_id, key, step, "spectrum", spectrum)
            rows.append(("similarity", step, 0.2 + 0.1 * done))
            if old:
                continue
            shares = np.arange(1, SHARES + 1) / SHARES
            store.add_snapshot(run_id, key, step, "similarity_by_share", shares + 0.2 * done * shares * (1 - shares))
            store.add_snapshot(run_id, key, step, "angles", np.linspace(0.3, 1.5, max(1, round(0.2 * width))))
            rows += [("effective_rank", step, width * (1 - 0.5 * done)), ("tail_energy", step, 0.4 * (1 - done))]
            rows += [(f"cosine/{name}", step, 0.5 + 0.4 * done) for name in TENSORS]
            rows += [("projection_energy", step, 0.1 + 0.2 * done), ("projection_energy_merged", step, 0.2 * done)]
        if not old:
            rows += [("projection_energy_real", 0, 0.6), ("projection_energy_merged_real", 0, 0.5)]
            near = np.stack([_nearest(place, real) for place in range(anchors)])
            store.add_snapshot(run_id, key, at[-1], "map", random.normal(size=(anchors + real, 2)))
            store.add_snapshot(run_id, key, at[-1], "nearest", near)
            store.add_snapshot(run_id, key, at[-1], "real_nearest", np.full(real, 0.7))
        store.add_scalars(run_id, key, rows)
        store.update_unit(
            run_id, key, state="done", step=steps, loss=1.0 / (1 + steps), seconds=2.0, best_step=steps - 1
        )
    if not old:
        for task in spec.tasks:
            made_samples(store.run_dir(run_id), task, real, texts=texts)
    store.set_state(run_id, "running")
    store.set_state(run_id, "done")
    return run_id


def _nearest(anchor: int, real: int) -> np.ndarray:
    """(5, 2): anchor n is nearest to the real inputs n, n + 1, … (around), with cosines 0.9, 0.8, …"""
    places = (anchor + np.arange(NEAR)) % real
    return np.stack([places, 0.9 - 0.1 * np.arange(NEAR)], axis=1)


def made_samples(run_dir: Path, task: str, count: int, *, texts: bool = False, size: int = 12) -> None:
    """Image n is grey of brightness 10 n; label n mod 2."""
    folder = run_dir / "real"
    folder.mkdir(exist_ok=True)
    told = {
        "task": task,
        "split": "train",
        "kind": "text" if texts else "image",
        "places": [3 * n for n in range(count)],
    }
    told |= {"labels": [n % 2 for n in range(count)], "classes": ["even", "odd"]}
    told["texts"] = [f"a sentence about {task}, number {n}" for n in range(count)] if texts else None
    if not texts:
        images = np.stack([np.full((size, size, 3), 10 * n % 256, np.uint8) for n in range(count)])
        save_file({"images": images}, folder / f"{task}.safetensors")
    (folder / f"{task}.json").write_text(json.dumps(told))
