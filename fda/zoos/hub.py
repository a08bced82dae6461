"""Download models from the hub into its cache, file by file, and only the files that are read here.

Uses huggingface_hub for all requests, so HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and HF_HOME work as documented there. Knows
nothing of what the files hold.
"""

import errno
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fda.atomic import write_text
from fda.errors import UserError, first_line
from fda.zoos.hub_files import bring
from fda.zoos.hub_ids import inside, is_hub_id, is_part, split_id

if TYPE_CHECKING:
    from fda.zoos.zoo import Zoo

MOST_NOTED = 1 << 20  # bytes of a ref, or of a snapshot's list of complete files: both have a few lines
SMALL_FILES = frozenset(
    {
        "config.json", "open_clip_config.json", "adapter_config.json", "preprocessor_config.json", "processor_config.json",
        "image_processor_config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
        "sentencepiece.bpe.model", "spiece.model", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt",
        "merges.txt", "chat_template.jinja",
    }
)  # fmt: skip
HUB_CONFIGS = frozenset({"config.json", "open_clip_config.json", "adapter_config.json"})
# All files of the first kind that a repository has are downloaded; the order is that of `fda.checkpoints.readers.open`.
WEIGHTS = (
    re.compile(r"open_clip_model\.safetensors|open_clip_pytorch_model\.safetensors"),
    re.compile(r"model\.safetensors"),
    re.compile(r"model\.safetensors\.index\.json|model-\d+-of-\d+\.safetensors"),
    re.compile(r"adapter_model\.safetensors"),
    re.compile(r"pytorch_model\.bin"),
    re.compile(r"open_clip_pytorch_model\.bin"),
    re.compile(r"pytorch_model\.bin\.index\.json|pytorch_model-\d+-of-\d+\.bin"),
    re.compile(r"adapter_model\.bin"),
)
Report = Callable[[str], None]


class Unreached(UserError):
    """The hub could not be reached, so its answer is unknown."""


@dataclass(frozen=True)
class Listing:
    """The files of a repository to download. `files`: name in the folder → bytes; `commit`: the revision's commit."""

    id: str
    revision: str | None
    folder: str
    commit: str
    files: dict[str, int]
    blobs: dict[str, str] = field(default_factory=dict)  # name → the hash of its content, where the hub gives it

    def path(self, file: str) -> str:
        """Return a file's path in the repository."""
        return f"{self.folder}/{file}" if self.folder else file

    @property
    def bytes(self) -> int:
        return sum(self.files.values())

    @property
    def weights(self) -> tuple[str, ...]:
        return tuple(name for name in self.files if name not in SMALL_FILES)


def listing(model: str) -> Listing:
    """Return the files to download for a hub id, with one request. UserError as `hub_errors`, or if there are none."""
    from huggingface_hub import HfApi

    name, revision, folder = split_id(model)
    with hub_errors(model):
        info = HfApi().model_info(name, revision=revision, files_metadata=True)
    prefix = f"{folder}/" if folder else ""
    entries = {
        entry.rfilename.removeprefix(prefix): entry
        for entry in info.siblings or ()
        if entry.rfilename.startswith(prefix)
    }
    sizes = {file: entry.size or 0 for file, entry in entries.items()}
    blobs = {file: entry.blob_id for file, entry in entries.items() if entry.blob_id}
    if not sizes:
        raise UserError(f"{name} has no folder {folder}: correct what stands after the colon.")
    return Listing(name, revision, folder, info.sha or "", {file: sizes[file] for file in wanted(model, sizes)}, blobs)


def wanted(model: str, names: Iterable[str]) -> list[str]:
    """Return those of a repository's files that are read here: configs, tokenizer and one kind of weights, never code."""
    names = sorted(names)
    for kind in WEIGHTS:
        weights = [name for name in names if kind.fullmatch(name)]
        if weights:
            return [name for name in names if name in SMALL_FILES] + weights
    raise UserError(
        f"{model} holds no weights that are read here: give a repository with model.safetensors or its like."
    )


def downloaded(model: str, report: Report | None = None) -> Path:
    """Return the local folder of a hub id, after downloading its missing files.

    An interrupted file continues where it stopped, in this process or a later one. `report` gets a line before each file.
    Without network (or with HF_HUB_OFFLINE) only the cache is used. UserError as `hub_errors`.
    """
    from huggingface_hub import constants, hf_hub_download

    cached = cached_folder(model)
    if cached is not None:
        return cached
    partial = snapshot_folder(model)
    try:
        if constants.HF_HUB_OFFLINE:
            raise UserError(
                f"{model} is not in the hub's cache and HF_HUB_OFFLINE is set: unset it, or download it where there is network."
            )
        files = listing(model)
    except UserError:
        if partial is not None and _has_weights(partial):  # another program downloaded it
            return partial
        raise
    folder = inside(_cache_of(files.id), "snapshots", files.commit, files.folder)
    for name, size in files.files.items():
        if report is not None:
            report(f"downloading {files.id}: {name} ({size / 2**20:.1f} MiB)")
        with hub_errors(model):
            path = files.path(name)
            if name in files.weights:
                bring(files.id, path, files.commit, _cache_of(files.id))
            folder = Path(hf_hub_download(files.id, path, revision=files.commit)).parent
    _remember(files)
    return folder


def config_folder(files: Listing) -> Path:
    """Download the configs and return the snapshot's folder, which may lack other files. UserError as `hub_errors`."""
    return small_files(files, HUB_CONFIGS)


def small_files(files: Listing, names: Iterable[str]) -> Path:
    """Download those of the named small files that are listed; return the snapshot's folder. UserError as `hub_errors`."""
    from huggingface_hub import hf_hub_download

    folder = inside(_cache_of(files.id), "snapshots", files.commit, files.folder)
    for name in sorted(set(names) & SMALL_FILES & files.files.keys()):
        with hub_errors(files.id):
            folder = Path(hf_hub_download(files.id, files.path(name), revision=files.commit)).parent
    return folder


def hub_cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached_folder(model: str) -> Path | None:
    """Return the snapshot in the hub's cache if it is known to be complete, else None. Makes no request."""
    folder = snapshot_folder(model)
    if folder is None:
        return None
    parts = split_id(model)
    commit = folder.parents[len(Path(parts.folder).parts) - 1].name if parts.folder else folder.name
    names = _noted(_marker(parts.name, commit, parts.folder))
    if not names or not all(map(is_part, names)):
        return None
    return folder if all(os.path.isfile(folder / name) for name in names) else None


def snapshot_folder(model: str) -> Path | None:
    """Return the snapshot's folder in the hub's cache, or None; it may lack files. Makes no request."""
    from huggingface_hub import constants

    name, revision, folder = split_id(model)
    cache = _cache_of(name)
    ref = _noted(inside(cache, "refs", revision or constants.DEFAULT_REVISION))
    commit = ref[0].strip() if ref else revision
    if commit is None or (ref and not is_part(commit)):
        return None
    snapshot = inside(cache, "snapshots", commit, folder)
    return snapshot if os.path.isdir(snapshot) else None


def _noted(path: Path) -> list[str] | None:
    """The lines of a small ASCII file in the cache; None if it does not exist or cannot be read as such."""
    if not os.path.isfile(path):
        return None
    try:
        with path.open("rb") as file:
            return file.read(MOST_NOTED).decode("ascii").splitlines()
    except (OSError, ValueError):  # the model then counts as missing, and a download rewrites the file
        return None


def missing_models(zoo: "Zoo") -> list[str]:
    """Return the hub ids of a zoo whose files are not on this machine. Makes no request."""
    models = dict.fromkeys((zoo.base.model, *(task.model for task in zoo.tasks)))
    return [model for model in models if is_hub_id(model) and cached_folder(model) is None]


def located(zoo: "Zoo", *, report: Report | None = None, tasks: tuple[str, ...] | None = None) -> "Zoo":
    """Return the zoo with every hub id replaced by its local folder, downloading what is missing. UserError as `downloaded`.

    `tasks`: download only these tasks' models; the others keep their ids.
    """

    def local(model: str) -> str:
        return str(downloaded(model, report)) if is_hub_id(model) else model

    chosen = zoo.task_names if tasks is None else tasks
    base = zoo.base.model_copy(update={"model": local(zoo.base.model)})
    local_tasks = tuple(
        task.model_copy(update={"model": local(task.model)}) if task.name in chosen else task for task in zoo.tasks
    )
    return zoo.model_copy(update={"base": base, "tasks": local_tasks})


def tell_on_stderr(line: str) -> None:
    """Print a line for the command line or a run's log, on stderr because stdout is for results."""
    print(f"fda: {line}", file=sys.stderr, flush=True)


@contextmanager
def hub_errors(model: str) -> Iterator[None]:
    """Turn errors of the hub, the network and the disk into a UserError of one sentence."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        raise UserError(
            f"{model} is gated: accept its terms on its page at the hub, then run `hf auth login` or set HF_TOKEN."
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{model} has no such revision: correct what stands after the @.") from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"{model} is not on the hub, or private: correct the id, or run `hf auth login` with an account that may read it."
        ) from None
    except errors.HFValidationError:
        raise UserError(
            f"{model} is no hub id: it has the form org/name, org/name@revision or org/name:folder."
        ) from None
    except errors.EntryNotFoundError as error:
        if not isinstance(error, errors.LocalEntryNotFoundError):
            raise UserError(f"{model} lacks a file that it lists ({first_line(error)}): try again later.") from None
        raise _unreached(model, error) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403):
            raise UserError(
                f"{model} may not be read ({status}): run `hf auth login`, or set HF_TOKEN to a token that may read it."
            ) from None
        raise UserError(f"the hub refused {model} ({first_line(error)}): try again later.") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"the disk is full while {model} is downloaded: free space, or set HF_HOME to a larger disk; "
                "repeating the command goes on where it stopped."
            ) from None
        raise _unreached(model, error) from None
    except errors.HTTPError as error:  # pyright: ignore[reportPrivateImportUsage] (the transport library's class)
        raise _unreached(model, error) from None


def _unreached(model: str, error: Exception) -> Unreached:
    return Unreached(
        f"the connection to the hub failed while {model} was asked for ({first_line(error)}): check the network; "
        "repeating the command goes on where it stopped."
    )


def _cache_of(name: str) -> Path:
    """A repository's folder in the hub's cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return inside(Path(constants.HF_HUB_CACHE), repo_folder_name(repo_id=name, repo_type="model"))


def _marker(name: str, commit: str, folder: str) -> Path:
    """The file that lists the files of a complete snapshot."""
    return inside(_cache_of(name), ".fda", "--".join((commit, *Path(folder).parts)))


def _remember(files: Listing) -> None:
    """Note that a snapshot is complete, and the commit of the revision's name, so that no later request is needed."""
    from huggingface_hub import constants

    write_text(_marker(files.id, files.commit, files.folder), "\n".join(files.files))
    revision = files.revision or constants.DEFAULT_REVISION
    if revision != files.commit:
        write_text(inside(_cache_of(files.id), "refs", revision), files.commit)


def _has_weights(folder: Path) -> bool:
    try:
        names = wanted(str(folder), (path.name for path in folder.iterdir()))
    except UserError:
        return False
    return all((folder / name).exists() for name in names)
