"""Models by hub id: told from paths, and brought into the hub's cache file by file, only what is read here.

Talks to the hub through huggingface_hub alone (HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and HF_HOME mean what they mean there).
Knows nothing of what the files hold.
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
from fda.errors import UserError
from fda.zoos.hub_files import bring
from fda.zoos.hub_ids import inside, is_hub_id, is_part, split_id

if TYPE_CHECKING:
    from fda.zoos.zoo import Zoo

MOST_NOTED = 1 << 20  # bytes of a ref, or of the note of which files are whole: both are some lines
SMALL_FILES = frozenset(
    {
        "config.json", "open_clip_config.json", "adapter_config.json", "preprocessor_config.json", "processor_config.json",
        "image_processor_config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
        "sentencepiece.bpe.model", "spiece.model", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt",
        "merges.txt", "chat_template.jinja",
    }
)  # fmt: skip
HUB_CONFIGS = frozenset({"config.json", "open_clip_config.json", "adapter_config.json"})
# Of the weights the first kind that a repository holds is taken, whole; the order is that of `fda.checkpoints.readers.open`.
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
Pulse = Callable[[str], None]


class Unreached(UserError):
    """The hub did not answer: nothing is known of what it was asked for."""


@dataclass(frozen=True)
class Listing:
    """What of a repository would be downloaded. `files`: name in the folder → bytes; `commit`: the revision, exactly."""

    id: str
    revision: str | None
    folder: str
    commit: str
    files: dict[str, int]
    blobs: dict[str, str] = field(default_factory=dict)  # name → what stands for its content, where the hub says

    def path(self, file: str) -> str:
        """A file's path in the repository."""
        return f"{self.folder}/{file}" if self.folder else file

    @property
    def bytes(self) -> int:
        return sum(self.files.values())

    @property
    def weights(self) -> tuple[str, ...]:
        return tuple(name for name in self.files if name not in SMALL_FILES)


def listing(model: str) -> Listing:
    """The files that would be downloaded for a hub id; one request. UserError for what the hub does not give."""
    from huggingface_hub import HfApi

    name, revision, folder = split_id(model)
    with told(model):
        info = HfApi().model_info(name, revision=revision, files_metadata=True)
    above = f"{folder}/" if folder else ""
    inside = {one.rfilename.removeprefix(above): one for one in info.siblings or () if one.rfilename.startswith(above)}
    sizes = {file: one.size or 0 for file, one in inside.items()}
    blobs = {file: one.blob_id for file, one in inside.items() if one.blob_id}
    if not sizes:
        raise UserError(f"{name} has no folder {folder}: correct what stands after the colon.")
    return Listing(name, revision, folder, info.sha or "", {file: sizes[file] for file in wanted(model, sizes)}, blobs)


def wanted(model: str, names: Iterable[str]) -> list[str]:
    """Of a repository's files those that are read here: configs, tokenizer and one kind of weights. Never code."""
    names = sorted(names)
    for kind in WEIGHTS:
        weights = [name for name in names if kind.fullmatch(name)]
        if weights:
            return [name for name in names if name in SMALL_FILES] + weights
    raise UserError(
        f"{model} holds no weights that are read here: give a repository with model.safetensors or its like."
    )


def downloaded(model: str, pulse: Pulse | None = None) -> Path:
    """The local folder of a hub id, its missing files downloaded.

    A file that was dropped goes on where it stopped, in this run and in the next.
    `pulse` is told each file before it comes. Without network (or with HF_HUB_OFFLINE) the cache is used.
    UserError with what the hub said.
    """
    from huggingface_hub import constants, hf_hub_download

    cached = cached_folder(model)
    if cached is not None:
        return cached
    begun = snapshot_folder(model)
    try:
        if constants.HF_HUB_OFFLINE:
            raise UserError(
                f"{model} is not in the hub's cache and HF_HUB_OFFLINE is set: unset it, or download it where there is network."
            )
        found = listing(model)
    except UserError:
        if begun is not None and _has_weights(begun):  # brought by another program
            return begun
        raise
    folder = begun
    for name, size in found.files.items():
        if pulse is not None:
            pulse(f"downloading {found.id}: {name} ({size / 2**20:.1f} MiB)")
        with told(model):
            path = found.path(name)
            if name in found.weights:
                bring(found.id, path, found.commit, _place(found.id))
            folder = Path(hf_hub_download(found.id, path, revision=found.commit)).parent
    _remember(found)
    return folder


def config_folder(found: Listing) -> Path:
    """The snapshot's folder with the configs in it, which are fetched; nothing else may be there. UserError as `told`."""
    return small_files(found, HUB_CONFIGS)


def small_files(found: Listing, names: Iterable[str]) -> Path:
    """The snapshot's folder with these files in it, those of them that are listed. UserError as `told`."""
    from huggingface_hub import hf_hub_download

    folder = inside(_place(found.id), "snapshots", found.commit, found.folder)
    for name in sorted(set(names) & SMALL_FILES & found.files.keys()):
        with told(found.id):
            folder = Path(hf_hub_download(found.id, found.path(name), revision=found.commit)).parent
    return folder


def hub_cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached_folder(model: str) -> Path | None:
    """The snapshot in the hub's cache, if it is known to be whole; asks nobody."""
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
    """The snapshot's folder in the hub's cache, if there is one; it may lack files."""
    from huggingface_hub import constants

    name, revision, folder = split_id(model)
    place = _place(name)
    noted = _noted(inside(place, "refs", revision or constants.DEFAULT_REVISION))
    commit = noted[0].strip() if noted else revision
    if commit is None or (noted and not is_part(commit)):
        return None
    snapshot = inside(place, "snapshots", commit, folder)
    return snapshot if os.path.isdir(snapshot) else None


def _noted(path: Path) -> list[str] | None:
    """The lines of a small text in the cache; None if there is none, or if it is none that a program wrote there."""
    if not os.path.isfile(path):
        return None
    try:
        with path.open("rb") as file:
            return file.read(MOST_NOTED).decode("ascii").splitlines()
    except (OSError, ValueError):  # as if the model were not here: a download writes it anew
        return None


def missing_models(zoo: "Zoo") -> list[str]:
    """The hub ids of a zoo whose files are not on this machine yet; asks nobody."""
    models = dict.fromkeys((zoo.base.model, *(task.model for task in zoo.tasks)))
    return [one for one in models if is_hub_id(one) and cached_folder(one) is None]


def located(zoo: "Zoo", *, pulse: Pulse | None = None, tasks: tuple[str, ...] | None = None) -> "Zoo":
    """The zoo with every hub id replaced by its local folder, downloading what is missing. UserError as `downloaded`.

    `tasks`: only these tasks' models are brought; the others keep their ids.
    """

    def local(model: str) -> str:
        return str(downloaded(model, pulse)) if is_hub_id(model) else model

    chosen = zoo.task_names if tasks is None else tasks
    base = zoo.base.model_copy(update={"model": local(zoo.base.model)})
    found = tuple(
        task.model_copy(update={"model": local(task.model)}) if task.name in chosen else task for task in zoo.tasks
    )
    return zoo.model_copy(update={"base": base, "tasks": found})


def tell_on_stderr(line: str) -> None:
    """A pulse for the command line and a run's log: standard output stays for results."""
    print(f"fda: {line}", file=sys.stderr, flush=True)


@contextmanager
def told(model: str) -> Iterator[None]:
    """What goes wrong between here and the hub, as one sentence."""
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
            raise UserError(f"{model} lacks a file that it lists ({_first(error)}): try again later.") from None
        raise _unreached(model, error) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403):
            raise UserError(
                f"{model} may not be read ({status}): run `hf auth login`, or set HF_TOKEN to a token that may read it."
            ) from None
        raise UserError(f"the hub refused {model} ({_first(error)}): try again later.") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"the disk is full while {model} is downloaded: free space, or set HF_HOME to a larger disk; "
                "repeating the command goes on where it stopped."
            ) from None
        raise _unreached(model, error) from None
    except errors.HTTPError as error:
        raise _unreached(model, error) from None


def _unreached(model: str, error: Exception) -> Unreached:
    return Unreached(
        f"the connection to the hub failed while {model} was asked for ({_first(error)}): check the network; "
        "repeating the command goes on where it stopped."
    )


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _place(name: str) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return inside(Path(constants.HF_HUB_CACHE), repo_folder_name(repo_id=name, repo_type="model"))


def _marker(name: str, commit: str, folder: str) -> Path:
    return inside(_place(name), ".fda", "--".join((commit, *Path(folder).parts)))


def _remember(found: Listing) -> None:
    """Note that a snapshot is whole, and which commit a revision's name means: the cache then answers without network."""
    from huggingface_hub import constants

    notes = [(_marker(found.id, found.commit, found.folder), "\n".join(found.files))]
    revision = found.revision or constants.DEFAULT_REVISION
    if revision != found.commit:
        notes.append((inside(_place(found.id), "refs", revision), found.commit))
    for path, text in notes:
        write_text(path, text)


def _has_weights(folder: Path) -> bool:
    try:
        names = wanted(str(folder), (path.name for path in folder.iterdir()))
    except UserError:
        return False
    return all((folder / name).exists() for name in names)
