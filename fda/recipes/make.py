"""Gather what a recipe names, packages and pictures of installed libraries, into a folder with its zoo file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import yaml
from pydantic import BaseModel, ConfigDict

from fda.demo.write import write_split
from fda.errors import UserError
from fda.home import ASSETS
from fda.recipes import bases, pictures, texts
from fda.recipes.packages import Package, fetch
from fda.stages.export import whole_folder
from fda.zoos.zoo import UntrainedZoo, validated

RECIPES = ASSETS / "recipes"
SEED = 0  # of the drawn samples
PICTURES = {"mnist": pictures.mnist, "fashion-mnist": pictures.fashion_mnist}
TEXTS = {
    "reuters": texts.reuters,
    "newsgroups": texts.newsgroups,
    "tweets": texts.tweets,
    "bbc": texts.bbc,
    "spam": texts.spam,
}
SIDE = 56  # pixels of vision-real's images: 17 tokens, where DINOv2's usual 224 have 257


class Source(BaseModel):
    """Where the base or a task's data come from: its hub id, a package that carries the same, or installed libraries."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hub: str | None = None
    package: str | None = None
    libraries: tuple[str, ...] = ()


class Recipe(BaseModel):
    """A file of assets/recipes. `sources`: of `base` and of each task; `zoo`: the zoo file, whose tasks have no model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    packages: dict[str, Package]
    sources: dict[str, Source]
    zoo: dict[str, Any]

    def lines(self) -> list[str]:
        """What it needs, a line each."""
        lines = []
        for name, source in self.sources.items():
            package = None if source.package is None else self.packages[source.package]
            parts = [f"{package.registry} {package.name} {package.version} ({package.licence})"] if package else []
            parts += [f"pictures of {' and '.join(source.libraries)}"] if source.libraries else []
            lines.append(f"{name}: {parts[0]}" + (f"; at the hub {source.hub}" if source.hub else ""))
        return lines


def recipes() -> dict[str, Path]:
    """Return the shipped recipes: name → file."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}


def load_recipe(name: str) -> Recipe:
    """Read a shipped recipe. UserError for a name that is none."""
    if name not in recipes():
        raise UserError(f"{name!r} is no recipe: there are {', '.join(recipes())}.")
    return Recipe.model_validate(yaml.safe_load(recipes()[name].read_text(encoding="utf-8")))


def make_recipe(name: str, folder: Path, *, tell: Callable[[str], None] = lambda _: None) -> Path:
    """Write `base`, `data/TASK` and `zoo.yaml` into a new or empty folder; return the zoo file. UserError if a source fails."""
    recipe = load_recipe(name)
    validated(recipe.zoo, str(recipes()[name]), UntrainedZoo)
    files = {key: fetch(package, tell) for key, package in recipe.packages.items()}
    datasets.disable_progress_bars()
    with whole_folder(folder) as part:
        for what, source in recipe.sources.items():
            tell(f"writing {what}")
            file = None if source.package is None else files[source.package]
            _write(name, what, file, part)
        text = yaml.safe_dump(recipe.zoo, sort_keys=False, allow_unicode=True, width=120)
        (part / "zoo.yaml").write_text(text, encoding="utf-8")
    return folder / "zoo.yaml"


def _write(recipe: str, what: str, file: Path | None, folder: Path) -> None:
    if what == "base":
        assert file is not None, "every recipe's base is in a package"
        if recipe == "text-real":
            bases.minilm(file, folder / "base")
        else:
            bases.dinov2_small(file, folder / "base", SIDE)
        return
    task_folder = folder / "data" / what
    if what in TEXTS:
        assert file is not None, "every text task is in a package"
        texts.write_texts(TEXTS[what](file, SEED), task_folder)
        return
    task = pictures.of_libraries(what, SEED) if file is None else PICTURES[what](file, SEED)
    for split, samples in task.splits.items():
        write_split(samples, task, task_folder / f"{split}.parquet")
