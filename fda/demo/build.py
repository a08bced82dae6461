"""Build the embedded demo zoo from its sources: pictures, models, heads, zoo file. `python -m fda zoo build-demo`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import datasets
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from fda.demo import recipe
from fda.demo.images import SPLITS, TASKS, stream
from fda.demo.scenery import make_scenery
from fda.demo.train import Labelled, Problem, accuracy, finetune, pretrain
from fda.demo.write import write_head, write_model, write_split, write_zoo
from fda.home import ASSETS

OUT = ASSETS / "demo"
ZOO_FILE = ASSETS / "zoos" / "demo.yaml"
WORKERS = 2  # tasks finetuned in parallel, one thread each: more threads do not help on such small tensors


def prepare(images: list[Image.Image], labels: list[int]) -> Labelled:
    """Prepare pictures as evaluation does, with open_clip's transform for the model's config."""
    config = PreprocessCfg(size=32, **recipe.MODEL_CONFIG["preprocess_cfg"])
    # open_clip also declares a tuple of transforms, which only training returns
    transform = cast("Callable[[Image.Image], torch.Tensor]", image_transform_v2(config, is_train=False))
    return Labelled(torch.stack([transform(image) for image in images]), torch.tensor(labels))


def load_written(folder: Path, split: str) -> Labelled:
    """Read a split back, so that training sees the pictures as saved (JPEG is lossy)."""
    data = datasets.Dataset.from_parquet(str(folder / f"{split}.parquet"), keep_in_memory=True)
    return prepare(data["image"][:], data["label"][:])


def pretraining_share(data: Labelled, seed: int, name: str) -> Labelled:
    """The few training pictures of a task that pretraining uses, at least one of every class."""
    order = torch.from_numpy(stream(seed, f"{name} in pretraining").permutation(len(data.labels)))
    labels = data.labels[order]
    first = torch.stack([(labels == label).nonzero()[0, 0] for label in labels.unique()])
    count = max(len(first), round(recipe.OWN_SHARE * len(order)))
    rest = [i for i in range(len(order)) if i not in set(first.tolist())]
    chosen = order[torch.tensor([*first.tolist(), *rest[: count - len(first)]])].repeat(recipe.OWN_REPEATS)
    return Labelled(data.images[chosen], data.labels[chosen])


def build(out: Path = OUT, seed: int = 0, report: Callable[[str], None] = print, zoo_file: Path = ZOO_FILE) -> None:
    """Write the whole zoo below `out`, and `zoo_file` that points to it. Takes about five minutes on two CPU cores."""
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    tasks = [make(seed) for make in TASKS]
    loaded: dict[str, dict[str, Labelled]] = {}
    for task in tasks:
        folder = out / "data" / task.name
        for split in SPLITS:
            write_split(task.splits[split], task, folder / f"{split}.parquet")
        loaded[task.name] = {split: load_written(folder, split) for split in SPLITS}
        report(f"{task.name}: " + ", ".join(f"{len(loaded[task.name][split].labels)} {split}" for split in SPLITS))

    scenery = [Problem(s.name, s.classes, prepare(s.split.images, s.split.labels)) for s in make_scenery(seed)]
    shares = [Problem(t.name, len(t.classes), pretraining_share(loaded[t.name]["train"], seed, t.name)) for t in tasks]
    report("pretraining")
    pretrained, heads = pretrain([*scenery, *shares], seed)
    state = {name: tensor.clone() for name, tensor in pretrained.state_dict().items()}
    write_model(state, out / "models" / "pretrained")

    with ThreadPoolExecutor(WORKERS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        tuned = pool.map(
            lambda i, t: finetune(state, heads[t.name], loaded[t.name]["train"], seed + 1 + i), range(len(tasks)), tasks
        )
        scores = []
        for task, model in zip(tasks, tuned, strict=True):
            head, data = heads[task.name], loaded[task.name]["validation"]
            write_model(model.state_dict(), out / "models" / task.name)
            path = out / "heads" / f"{task.name}.safetensors"
            write_head(head, torch.tensor(recipe.LOGIT_SCALE), task.classes, path)
            scores.append((accuracy(pretrained, head, data), accuracy(model, head, data)))
            report(f"{task.name}: validation accuracy {scores[-1][0]:.1%} pretrained, {scores[-1][1]:.1%} finetuned")
    averages = [sum(column) / len(tasks) for column in zip(*scores, strict=True)]
    report(f"average on validation: {averages[0]:.1%} pretrained, {averages[1]:.1%} finetuned")
    write_zoo(tasks, out, zoo_file)
