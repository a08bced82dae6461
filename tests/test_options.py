"""Every option of every command either does something or is refused: a table, and how each line of it is proved.

The commands' own description is the list, so that a new option fails here until it is in the table.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from fda.bench import language_zoo
from fda.cli import ablate as cli_ablate
from fda.cli import app as cli
from fda.cli import import_anchors as cli_import
from fda.cli import start as cli_start
from fda.errors import UserError
from fda.figures.theme import PALETTES
from fda.requests.runs import construct_settings, make_spec
from fda.stages.execute import resolve_device
from fda.store.spec import DownloadSettings
from fda.store.store import Store
from tests.support.tiny_zoo import TASKS

TESTS = Path(__file__).parent


@dataclass(frozen=True)
class Asks:
    """With `words` behind the command's own, what is asked for has `value` at `place`, and not without them."""

    words: tuple[str, ...]
    place: str
    value: Any


@dataclass(frozen=True)
class Refused:
    words: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class Elsewhere:
    """A test elsewhere gives the option and looks at what it does: FILE::TEST."""

    by: str


class Asked(Exception):
    """What a command asks for, in place of the work."""

    def __init__(self, what: Mapping[str, Any]) -> None:
        self.what = what


def asks(option: str, place: str, text: str, value: Any, *beside: str) -> dict[str, Asks]:
    return {option: Asks((option, text, *beside), place, value)}


def settings(place: str) -> dict[str, Asks]:
    """The construction settings, whose options are made of their model."""
    return {
        "--init": Asks(("--init", "gauss"), f"{place}.init", "gauss"),
        "--sigma": Asks(("--init", "gauss", "--sigma", "0.5"), f"{place}.sigma", 0.5),
        "--weight-scale": Asks(("--weight-scale", "3"), f"{place}.weight_scale", 3.0),
        "--anchors": Asks(("--preset", "paper", "--anchors", "7"), f"{place}.anchors", 7),
        "--tokens": Asks(("--tokens", "3"), f"{place}.tokens", 3),
        "--steps": Asks(("--steps", "9"), f"{place}.steps", 9),
        "--distance": Asks(("--distance", "l1"), f"{place}.distance", "l1"),
        "--optimizer": Asks(("--optimizer", "adamw"), f"{place}.optimizer", "adamw"),
        "--learning-rate": Asks(("--learning-rate", "0.3"), f"{place}.learning_rate", 0.3),
        "--momentum": Asks(("--momentum", "0.5"), f"{place}.momentum", 0.5),
        "--weight-decay": Asks(("--weight-decay", "0.3"), f"{place}.weight_decay", 0.3),
        "--schedule": Asks(("--schedule", "cosine"), f"{place}.schedule", "cosine"),
        "--tolerance": Asks(("--tolerance", "0.3"), f"{place}.tolerance", 0.3),
        "--arithmetic": Asks(("--arithmetic", "plain"), f"{place}.arithmetic", "plain"),
        "--seed": Asks(("--seed", "5"), f"{place}.seed", 5),
        "--preset": Asks(("--preset", "paper"), f"{place}.preset", "paper"),
    }


CHOICE = {
    "--zoo": Elsewhere("test_options.py::test_every_option_does_something"),  # each line of a command needs it
    "--tasks": Asks(("--tasks", "red"), "spec.tasks", ("red",)),
    "--blocks": Asks(("--blocks", "1"), "spec.blocks", (1,)),
    "--device": Refused(("--device", "cuda:99"), "there is no device 'cuda:99' here"),
    "--fresh": Asks(("--fresh",), "fresh", True),
}
JSON = {"--json": Refused(("--json", "/no/such/folder/a.json"), "/no/such/folder/a.json could not be written")}
METHODS = {
    "--sweep": Asks(("--sweep",), "spec.methods", lambda methods: "ta:swept" in methods),
    "--set": Asks(("--set", "ta.scale=0.7"), "spec.hyperparameters", {"ta": {"scale": 0.7}}),
    "--adapt": Asks(("--adapt", "batch=3"), "spec.adaptation.batch", 3),
}
SEED = {"--seed": Asks(("--seed", "5"), "spec.seed", 5)}
BENCH = {
    "--zoo": Asks(("--zoo", "other"), "zoo", "other"),
    "--device": Asks(("--device", "mps"), "device", "mps"),
} | JSON
SEEDS = {"--seeds": Asks(("--seeds", "3,4"), "seeds", [3, 4])}

BENCHES = (
    "adapt", "construct", "cost", "engines", "evaluate", "load", "merge", "methods", "mixer",
    "observations", "page", "presets", "starts", "store",
)  # fmt: skip
TABLE: dict[str, dict[str, Asks | Refused | Elsewhere]] = {
    "construct --zoo ZOO": CHOICE
    | settings("spec.construction")
    | {
        "--engine": Elsewhere("runs/test_ray_engine.py::test_the_command_constructs_on_the_cores_of_this_machine"),
        "--address": Refused(("--address", "auto"), "--address is read only with --engine ray"),
    },
    "compare --zoo ZOO": CHOICE
    | METHODS
    | SEED
    | JSON
    | {
        "--anchors": Asks(("--anchors", "RUN"), "spec.anchors_run", "RUN"),
        "--methods": Asks(("--methods", "ties"), "spec.methods", ("pretrained", "individual", "ties")),
        "--adapt": Asks(("--anchors", "RUN", "--adapt", "batch=3"), "spec.adaptation.batch", 3),
        "--blocks": Asks(("--anchors", "RUN", "--blocks", "1"), "spec.blocks", (1,)),
    },
    "demo": METHODS | SEED | JSON | {name: CHOICE[name] for name in ("--device", "--fresh")},
    "landscape RUN": {
        "RUN_ID": Refused((), "There is no run 'RUN'"),
        "--points": Asks(("--points", "7"), "points", 7),
        "--samples": Asks(("--samples", "7"), "samples", 7),
        "--directions": Asks(("--directions", "paths"), "directions", "paths"),
        "--split": Asks(("--split", "test"), "split", "test"),
        "--snapshots": Asks(("--snapshots", "7"), "snapshots", 7),
        "--device": Asks(("--device", "cpu"), "device", "cpu"),
        "--fresh": Elsewhere("test_cli.py::test_the_same_request_goes_on_with_the_run_that_was_left_unfinished"),
    },
    "analyse RUN": JSON
    | {
        "RUN_ID": Refused((), "There is no run 'RUN'"),
        "--panels": Elsewhere("stages/test_analyses.py::test_the_command_line_prints_what_the_page_shows"),
        "--device": Elsewhere("stages/test_analyses.py::test_the_command_line_prints_what_the_page_shows"),
        "--fresh": Elsewhere("stages/test_analyses.py::test_the_command_line_prints_what_the_page_shows"),
    },
    "lm-eval FOLDER --tasks TASK": JSON
    | {
        "FOLDER": Elsewhere("tasks/test_harness.py::test_the_command_scores_a_task_as_the_library_does"),
        "--tasks": Elsewhere("tasks/test_harness.py::test_the_command_scores_a_task_as_the_library_does"),
        "--task-files": Elsewhere("tasks/test_harness.py::test_the_command_scores_a_task_as_the_library_does"),
        "--samples": Elsewhere("tasks/test_harness.py::test_the_command_scores_a_task_as_the_library_does"),
        "--batch": Elsewhere("tasks/test_harness.py::test_the_command_scores_a_task_as_the_library_does"),
        "--device": Refused(("--device", "cuda:99"), "there is no device 'cuda:99' here"),
        "--allow-code": Elsewhere("tasks/test_harness.py::test_code_of_own_tasks_is_not_run_unasked"),
    },
    "ablate --zoo ZOO": CHOICE
    | JSON
    | {
        "--preset": Asks(("--preset", "paper"), "spec.construction.preset", "paper"),
        "--steps": Asks(("--steps", "9"), "spec.construction.steps", 9),
        "--seed": Asks(("--seed", "5"), "spec.construction.seed", 5),
    },
    "export RUN --method ta --out OUT": {
        "RUN_ID": Refused((), "There is no run 'RUN'"),
        "--method": Elsewhere("stages/test_export.py::test_what_cannot_be_exported_is_one_sentence_and_leaves_nothing"),
        "--out": Elsewhere("stages/test_export.py::test_what_cannot_be_exported_is_one_sentence_and_leaves_nothing"),
        "--task": Elsewhere("stages/test_export.py::test_what_cannot_be_exported_is_one_sentence_and_leaves_nothing"),
        "--push": Elsewhere("stages/test_export.py::test_the_hub_gets_the_folder_as_one_private_repository"),
        "--private": Refused(("--private",), "--private applies to the repository that --push names"),
    },
    "mix --zoo ZOO --recipe mix.yaml": {
        name: Elsewhere("stages/test_mix.py::test_a_kept_mix_is_a_row_of_a_comparison_with_its_recipe_and_can_be_taken_home")
        for name in ("--zoo", "--recipe", "--out", "--keep", "--methods", "--device", "--json")
    }
    | {"--fresh": Elsewhere("stages/test_mix.py::test_what_cannot_be_mixed_is_one_sentence")},
    "estimate --zoo ZOO": settings("spec.construction")
    | JSON
    | {
        "--zoo": CHOICE["--zoo"],
        "--tasks": CHOICE["--tasks"],
        "--blocks": CHOICE["--blocks"],
        "--device": Asks(("--device", "mps"), "spec.device", "mps"),
        "--methods": Asks(("--methods", "ties"), "spec.methods", ("pretrained", "individual", "ties")),
        "--sweep": Refused(("--sweep",), "--sweep needs methods"),
        "--set": Refused(("--set", "ta.scale=0.7"), "no method of this run reads it: add ta"),
        "--adapt": Refused(("--adapt", "batch=3"), "--adapt batch is set, but no method of this run reads it"),
    },
    "import FOLDER --zoo ZOO": CHOICE
    | {
        "FOLDER": Asks((), "spec.published", lambda folder: folder.endswith("scale-0.5-opt-6-0.01")),
        "--init": Asks(("--init", "weight"), "spec.construction.init", "weight"),
        "--sigma": Asks(("--sigma", "0.25"), "spec.construction.sigma", 0.25),
        "--steps": Asks(("--steps", "9"), "spec.construction.steps", 9),
    },
    "convert SOURCE OUT.safetensors": {
        "SOURCE": Elsewhere("test_options.py::test_a_base_that_is_not_read_is_refused"),
        "TARGET": Elsewhere("test_options.py::test_a_base_that_is_not_read_is_refused"),
        "--base": Elsewhere("checkpoints/test_peft_adapters.py::"),
        "--overwrite": Elsewhere("test_options.py::test_a_base_that_is_not_read_is_refused"),
    },
    "doctor": {
        "--repair": Elsewhere(
            "hostile/test_store_from_outside.py::test_a_store_that_cannot_be_used_is_a_sentence_on_a_page_and_doctor_repairs_it"
        )
    },
    "audit": dict.fromkeys(
        ("--run", "--who", "--limit", "--json"),
        Elsewhere("runs/test_gate.py::test_the_command_line_acts_for_the_system_user_and_prints_the_trail"),
    ),
    "backup /no/such/folder": {
        "FOLDER": Refused((), "has no runs yet: there is nothing to back up"),
    },
    "record RUN": {
        "RUN_ID": Refused((), "There is no run 'RUN'"),
        "--out": Refused(("--out", "/no/such/folder/a.json"), "/no/such/folder/a.json"),
    },
    "report RUN --out OUT.html": {
        "RUN_ID": Refused((), "There is no run 'RUN'"),
        "--out": Refused(("--out", "/no/such/folder/a.html"), "/no/such/folder/a.html could not be written"),
        "--dark": Elsewhere("test_options.py::test_dark_is_the_theme_of_the_report"),
    },
    "methods": {
        "NAME": Refused(("tsw",), "there is no merging method 'tsw'"),
        "--json": Elsewhere("test_cli.py::test_methods_tells_everything_the_registry_knows"),
    },
    "zoo list": {},
    "zoo show gone": {
        "ZOO": Refused((), "gone is neither a zoo file nor a shipped zoo"),
        "--interference": Elsewhere("stages/test_analyses.py::test_a_page_and_the_command_line_find_the_same_of_a_zoo"),
        "--json": Elsewhere("test_cli.py::test_show_tells_how_methods_treat_every_tensor"),
    },
    "zoo check gone": {
        "ZOO": Refused((), "gone is neither a zoo file nor a shipped zoo"),
        "--headers": Elsewhere("requests/test_before_download.py::"),
        "--json": Refused(("--json",), "--json prints what --headers finds: add --headers"),
    },
    "zoo build-demo": {
        "--out": Asks(("--out", "A"), "out", Path("A")),
        "--seed": Asks(("--seed", "5"), "seed", 5),
    },
    "zoo finetune gone": {
        "ZOO": Refused((), "gone is neither a zoo file nor a shipped zoo"),
        "--tasks": Elsewhere("stages/test_finetune.py::test_the_command_trains_what_it_is_asked_to"),
        "--out": Elsewhere("stages/test_finetune.py::test_the_command_trains_what_it_is_asked_to"),
        "--device": Refused(("--device", "cuda:99"), "there is no device 'cuda:99' here"),
    },
    "zoo recipe gone": {
        "NAME": Refused((), "'gone' is no recipe: there are text-real, vision-real"),
        "FOLDER": Elsewhere("recipes/test_recipes.py::test_a_recipe_becomes_a_zoo_to_finetune"),
    },
    "runs list": {
        "--json": Elsewhere("test_cli.py::test_construct_compare_show_and_delete"),
        "--all": Elsewhere("test_options.py::test_runs_that_pages_started_are_listed_when_asked"),
        "--search": Elsewhere("test_cli_runs.py::test_the_list_is_searched_filtered_and_sorted"),
        "--state": Refused(("--state", "lost"), "there is no state 'lost': choose queued"),
        "--zoo": Elsewhere("test_cli_runs.py::test_the_list_is_searched_filtered_and_sorted"),
        "--tag": Elsewhere("test_cli_runs.py::test_the_list_is_searched_filtered_and_sorted"),
        "--sort": Refused(("--sort", "colour"), "runs are not sorted by 'colour': choose created"),
    },
    "runs show RUN": {
        "RUN_ID": Refused((), "There is no run 'RUN'"),
        "--json": Elsewhere("test_options.py::test_a_run_is_shown_as_json"),
    },
    "runs stop RUN": {"RUN_ID": Refused((), "There is no run 'RUN'")},
    "runs resume RUN": {"RUN_ID": Refused((), "There is no run 'RUN'")},
    "runs delete RUN": {
        "RUN_IDS": Refused((), "There is no run 'RUN'"),
        "--now": Elsewhere("test_cli.py::test_construct_compare_show_and_delete"),
    },
    "runs prune": {
        "--older-than": Refused(("--older-than", "old"), "--older-than old: give a whole number of days"),
        "--keep-best": Elsewhere("runs/test_backup.py::test_prune_keeps_the_young_the_best_the_named_and_what_they_read"),
        "--keep-named": Elsewhere("runs/test_backup.py::test_prune_keeps_the_young_the_best_the_named_and_what_they_read"),
        "--dry-run": Elsewhere("runs/test_backup.py::test_prune_keeps_the_young_the_best_the_named_and_what_they_read"),
    },
    "runs undelete RUN": {"RUN_IDS": Refused((), "There is no run 'RUN'")},
    "runs name RUN short": {
        "RUN_ID": Refused((), "There is no run 'RUN'"),
        "TEXT": Elsewhere("test_cli_runs.py::test_a_run_gets_a_name_a_note_and_tags"),
    },
    "runs note RUN once": {
        "RUN_ID": Refused((), "There is no run 'RUN'"),
        "TEXT": Elsewhere("test_cli_runs.py::test_a_run_gets_a_name_a_note_and_tags"),
    },
    "runs tag RUN best": {
        "RUN_ID": Refused((), "There is no run 'RUN'"),
        "WORDS": Elsewhere("test_cli_runs.py::test_a_run_gets_a_name_a_note_and_tags"),
        "--remove": Elsewhere("test_cli_runs.py::test_a_run_gets_a_name_a_note_and_tags"),
    },
    "runs move RUN up": {
        "RUN_ID": Refused((), "There is no run 'RUN'"),
        "DIRECTION": Elsewhere("test_cli_runs.py::test_a_queued_run_is_moved"),
    },
    "bench construct": JSON
    | {
        "--size": Refused(("--size", "huge"), "there is no size 'huge' to measure"),
        "--device": Refused(("--device", "cuda:99"), "there is no device 'cuda:99' here"),
        "--threads": Refused(("--device", "mps", "--threads", "2"), "--threads applies to a CPU"),
        "--budget": Asks(("--budget", "9"), "budget", 9.0),
        "--steps": Asks(("--steps", "9"), "steps", 9),
        "--paths": Asks(("--paths", "plain"), "paths", ("plain",)),
        "--together": Refused(("--paths", "plain", "--together", "4"), "--together applies to compiled and bfloat16"),
    },
    "bench methods": JSON
    | SEEDS
    | {
        "--zoo": Refused(("--zoo", "gone.yaml"), "gone.yaml is neither a zoo file nor a shipped zoo"),
        "--device": Refused(("--device", "cuda:99"), "there is no device 'cuda:99' here"),
        "--methods": Asks(("--methods", "tsv"), "methods", ("tsv",)),
        "--preset": Asks(("--preset", "paper"), "construct", lambda asked: asked.preset == "paper"),
        "--anchors": Asks(("--anchors", "9"), "construct", lambda asked: asked.anchors == 9),
        "--steps": Asks(("--steps", "9"), "construct", lambda asked: asked.steps == 9),
        "--adapt": Asks(("--adapt", "batch=9"), "adaptation", {"batch": "9"}),
    },
    "bench adapt": JSON
    | {
        "--size": Refused(("--size", "huge"), "there is no size 'huge' to measure"),
        "--tasks": Asks(("--tasks", "3"), "tasks", 3),
        "--batch": Asks(("--batch", "9"), "batch", 9),
        "--epochs": Asks(("--epochs", "9"), "epochs", 9),
        "--device": Refused(("--device", "cuda:99"), "there is no device 'cuda:99' here"),
        "--threads": Asks(("--threads", "2"), "threads", 2),
        "--paths": Asks(("--paths", "bfloat16"), "paths", ("bfloat16",)),
    },
    "bench starts": BENCH | SEEDS,
    "bench observations": BENCH
    | SEEDS
    | {
        "--preset": Asks(("--preset", "paper"), "preset", "paper"),
        "--blocks": Asks(("--blocks", "1"), "blocks", (1,)),
    },
    "bench merge": JSON
    | {
        "--methods": Asks(("--methods", "tsv"), "names", ("tsv",)),
        "--blocks": Asks(("--blocks", "3"), "blocks", 3),
        "--tasks": Asks(("--tasks", "3"), "tasks", 3),
        "--repeats": Asks(("--repeats", "5"), "repeats", 5),
        "--threads": Asks(("--threads", "2"), "threads", 2),
    },
    "bench evaluate": BENCH
    | {
        "--models": Asks(("--models", "3"), "models", 3),
        "--repeats": Asks(("--repeats", "5"), "repeats", 5),
        "--limit": Asks(("--limit", "3"), "limit", 3 * 2**20),
    },
    "bench cost": BENCH,
    "bench engines": JSON
    | {
        "--zoo": Asks(("--zoo", "other"), "zoo", "other"),
        "--tasks": Asks(("--tasks", "red"), "tasks", ("red",)),
        "--cores": Asks(("--cores", "2"), "cores", 2),
        "--steps": Asks(("--steps", "9"), "steps", 9),
        "--repeats": Asks(("--repeats", "5"), "repeats", 5),
    },
    "bench page": JSON
    | {f"--{name}": Asks((f"--{name}", "21"), name, 21) for name in ("points", "starts", "rounds", "updates", "runs")},
    "bench load": JSON
    | {
        "--sessions": Asks(("--sessions", "9"), "sessions", 9),
        "--updates": Asks(("--updates", "19"), "updates", 19),
        "--pause": Asks(("--pause", "0.5"), "pause", 0.5),
    },
    "bench mixer": JSON
    | {
        "--zoo": Asks(("--zoo", "A"), "zoo", "A"),
        "--moves": Asks(("--moves", "9"), "moves", 9),
    },
    "bench store": JSON
    | {
        "--runs": Asks(("--runs", "9"), "runs", 9),
        "--scalars": Asks(("--scalars", "99999"), "scalars", 99_999),
        "--repeats": Asks(("--repeats", "9"), "repeats", 9),
    },
    "bench presets": BENCH | SEEDS,
    "bench language": JSON
    | SEEDS
    | {
        "--folder": Elsewhere("bench/test_language_bench.py::test_a_cut_of_it_goes_the_whole_way"),
        "--device": Refused(("--device", "cuda:99"), "there is no device 'cuda:99' here"),
    },
}  # fmt: skip
LINES = [(command, option, proof) for command, options in TABLE.items() for option, proof in options.items()]


def described(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, set[str]]]:
    """Every command of the program with its options and arguments, as the program itself describes them."""
    if hasattr(command, "commands"):
        for name, one in command.commands.items():
            yield from described(one, (*path, name))
    else:
        names = {one.opts[0] if one.param_type_name == "option" else one.name.upper() for one in command.params}
        yield " ".join(path), names


def test_the_table_has_every_option_of_every_command():
    program = dict(described(typer.main.get_command(cli.app)))
    ours = {
        name: options for name in program for command, options in TABLE.items() if f"{command} ".startswith(f"{name} ")
    }
    assert {name: set(options) for name, options in ours.items()} == program


@pytest.fixture(scope="module")
def anchors(tmp_path_factory) -> Path:
    """Anchors as others publish them: four of five tokens, of the tiny zoo's width."""
    folder = tmp_path_factory.mktemp("anchors") / "init_by_gauss_random-anchor-4-scale-0.5-opt-6-0.01"
    for task in TASKS:
        (folder / task).mkdir(parents=True)
        for layer in (1, 2):
            np.save(folder / task / f"dual_anchors_layer_{layer}.npy", np.ones((5, 4, 16), np.float32))
    return folder


@pytest.fixture
def run_command(fda_home, tiny_zoo, anchors, monkeypatch, tmp_path):
    """(words) → what the command asks for, in place of the work itself. UserError as the command's."""
    import fda.demo
    from fda.requests import landscape as landscape_request
    from fda.stages import calibrate

    def asked(spec: Any, fresh: bool = False) -> None:
        if fresh is not None:
            resolve_device(spec.device)
        raise Asked({"spec": spec.model_dump(), "fresh": fresh})

    def keywords(*first: Any, **given: Any) -> None:
        raise Asked(given | ({"zoo": first[0], "names": first[0], "out": first[0]} if first else {}))

    for module, name in ((cli_start, "run_request"), (cli_ablate, "run_request"), (cli_import, "run_request")):
        monkeypatch.setattr(module, name, asked)
    monkeypatch.setattr(calibrate, "calibrate", lambda spec: asked(spec, None))
    for bench in BENCHES:
        monkeypatch.setattr(import_module(f"fda.bench.{bench}"), f"bench_{bench}", keywords)
    monkeypatch.setattr(language_zoo, "prepare_zoo", lambda folder: tiny_zoo)
    monkeypatch.setattr(fda.demo, "build", lambda out=None, seed=0, zoo_file=None: keywords(out, seed=seed))

    def run(command: str, words: tuple[str, ...]) -> Mapping[str, Any]:
        places = {"ZOO": str(tiny_zoo), "FOLDER": str(anchors), "OUT": str(tmp_path / "out"),
                  "OUT.html": str(tmp_path / "out.html")}  # fmt: skip
        if command.startswith("landscape") and words:
            monkeypatch.setattr(landscape_request, "landscape_spec", keywords)
        if "--anchors" in words and command.startswith("compare"):
            monkeypatch.setattr(Store, "run", lambda store, run_id: _Run(tiny_zoo))
        with pytest.raises(Asked) as caught:
            cli.app([places.get(word, word) for word in (*command.split(), *words)], standalone_mode=False)
        return caught.value.what

    return run


class _Run:
    """A run that constructs anchors of all tasks and blocks."""

    def __init__(self, zoo: Path) -> None:
        self.spec = make_spec(zoo, construct=construct_settings("fast"))


def at(what: Any, place: str) -> Any:
    for name in place.split("."):
        what = what.get(name) if isinstance(what, Mapping) else None
    return what


@pytest.mark.parametrize(("command", "option", "proof"), LINES, ids=[f"{one[0]} {one[1]}" for one in LINES])
def test_every_option_does_something(run_command, command, option, proof):
    if isinstance(proof, Refused):
        with pytest.raises(UserError, match=re.escape(proof.sentence)):
            run_command(command, proof.words)
    elif isinstance(proof, Asks):
        found = at(run_command(command, proof.words), proof.place)
        assert proof.value(found) if callable(proof.value) else found == proof.value
        if proof.words:
            without = at(run_command(command, ()), proof.place) if not command.startswith("landscape") else None
            assert not (proof.value(without) if callable(proof.value) else without == proof.value), "the default"
    else:
        file, _, test = proof.by.partition("::")
        text = (TESTS / file).read_text(encoding="utf-8")
        assert f"def {test}" in text and (option in text or option.isupper())


def test_a_base_that_is_not_read_is_refused(tiny_zoo, tmp_path):
    source, target = tiny_zoo.parent / "base", tmp_path / "out.safetensors"
    words = ["convert", str(source), str(target)]
    with pytest.raises(UserError, match="base is no adapter, so that no base is read: leave --base out"):
        cli.app([*words, "--base", str(source)], standalone_mode=False)
    assert not target.exists()
    cli.app(words, standalone_mode=False)
    written = target.read_bytes()
    with pytest.raises(UserError, match="exists already"):
        cli.app(words, standalone_mode=False)
    target.write_bytes(b"old")
    cli.app([*words, "--overwrite"], standalone_mode=False)
    assert target.read_bytes() == written


def test_dark_is_the_theme_of_the_report(fda_home, tiny_zoo, tmp_path):
    run_id = Store(fda_home).create_run(make_spec(tiny_zoo, methods=("ta",), device="cpu"))
    texts = []
    for words in ((), ("--dark",)):
        cli.app(["report", run_id, "--out", str(tmp_path / "a.html"), *words], standalone_mode=False)
        texts.append((tmp_path / "a.html").read_text(encoding="utf-8"))
    light, dark = (f"--page: {PALETTES[theme].page};" for theme in ("light", "dark"))
    assert light in texts[0] and dark in texts[1] and dark not in texts[0]


def test_runs_that_pages_started_are_listed_when_asked(fda_home, tiny_zoo, capsys):
    spec = make_spec(tiny_zoo).model_copy(update={"helper": DownloadSettings()})
    run_id = Store(fda_home).create_run(spec)
    listed = []
    for words in ((), ("--all",)):
        cli.app(["runs", "list", *words], standalone_mode=False)
        listed.append(run_id in capsys.readouterr().out)
    assert listed == [False, True]


def test_a_run_is_shown_as_json(fda_home, tiny_zoo, capsys):
    store = Store(fda_home)
    run_id = store.create_run(make_spec(tiny_zoo, methods=("ta",), device="cpu"))
    cli.app(["runs", "show", run_id, "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["spec"]["methods"] == ["pretrained", "individual", "ta"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("construct", "--sigma", "0.5"), "--sigma is read only with --init gauss: add that, or leave --sigma out."),
        (("construct", "--init", "weight", "--sigma", "0.01"), "--sigma is read only with --init gauss"),
        (("construct", "--init", "gauss", "--weight-scale", "2"), "--weight-scale is read only with --init weight"),
        (("construct", "--preset", "paper", "--momentum", "0.9"), "--momentum is read only with --optimizer muon"),
        (("estimate", "--sigma", "0.5"), "--sigma is read only with --init gauss"),
        (("import", "--sigma", "0.5", "--init", "weight"), "sigma is the scale of the gauss start: add --init gauss"),
        (
            ("compare", "--methods", "ta", "--anchors", "RUN"),
            "--anchors is given, but no method of this run reads anchors",
        ),
        (
            ("compare", "--methods", "ta", "--blocks", "0"),
            "--blocks is given, but no method of this run works by block",
        ),
        (
            ("compare", "--methods", "ta", "--adapt", "batch=3"),
            "--adapt batch is set, but no method of this run reads it",
        ),
        (
            ("compare", "--methods", "fda:ta", "--anchors", "RUN", "--adapt", "weights_lr=0.1"),
            "--adapt weights_lr is set, but no method of this run reads it: add one, such as fda:pretrained, or leave it out.",
        ),
        (
            ("compare", "--methods", "fda:pretrained", "--anchors", "RUN", "--adapt", "coefficients_epochs=3"),
            "--adapt coefficients_epochs is set, but no method of this run reads it: add one, such as fda:ta",
        ),
        (
            (
                "compare",
                "--methods",
                "fda:ta",
                "--anchors",
                "RUN",
                "--adapt",
                "epochs=3",
                "--adapt",
                "coefficients_epochs=4",
            ),
            "--adapt epochs stands for what is set beside it: leave it out.",
        ),
        (("compare", "--methods", "ta", "--set", "ties.density=0.5"), "no method of this run reads it: add ties"),
        (("compare", "--methods", "wudi", "--sweep"), "none of wudi has a coefficient to sweep"),
        (("compare", "--methods", "ta:swept", "--set", "ta.scale=0.5"), "chooses it on the validation split"),
    ],
)
def test_what_this_run_would_not_read_is_refused(run_command, words, sentence):
    command = "import FOLDER --zoo ZOO" if words[0] == "import" else f"{words[0]} --zoo ZOO"
    with pytest.raises(UserError, match=re.escape(sentence)):
        run_command(command, words[1:])


def test_epochs_are_read_by_either_kind_of_adaptation(tiny_zoo):
    spec = make_spec(tiny_zoo, methods=("fda:ta",), anchors_run="x", adaptation={"epochs": "77"})
    assert (spec.adaptation.weights_epochs, spec.adaptation.coefficients_epochs) == (77, 77)
