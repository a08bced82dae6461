"""Read the header of a file on the hub by range requests, or download the file with resumption.

huggingface_hub 2.4 restarts a partial file in each process; this module keeps the partial file beside the cache's blobs. It
raises the client's errors, which `fda.zoos.hub.hub_errors` turns into sentences.
"""

import os
from hashlib import file_digest
from pathlib import Path
from urllib.parse import urlparse

from fda.checkpoints.weights import TensorInfo
from fda.errors import UserError
from fda.home import open_to_others
from fda.zoos.hub_ids import inside

SHA256 = 64  # hexadecimal digits of a file's etag in large-file storage, which is its SHA-256


def remote_header(repository: str, name: str, commit: str) -> dict[str, TensorInfo]:
    """Return tensor → shape and dtype of a safetensors file on the hub, by at most two range requests of some KB."""
    from huggingface_hub import HfApi

    tensors = HfApi().parse_safetensors_file_metadata(repository, name, revision=commit).tensors
    return {name: TensorInfo(tuple(info.shape), info.dtype) for name, info in sorted(tensors.items())}


def bring(repository: str, name: str, commit: str, cache: Path) -> None:
    """Download a file into the blobs of a repository's `cache`, unless it is there.

    The blob appears complete or not at all; a partial file stays in `cache`/.fda for the next attempt. UserError if the content
    differs from what the hub lists.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    url = hf_hub_url(repository, name, revision=commit)
    remote = get_hf_file_metadata(url)
    if remote.etag is None or remote.size is None:
        return
    blob, part = inside(cache, "blobs", remote.etag), inside(cache, ".fda", "parts", remote.etag)
    for path in (blob, part):
        path.parent.mkdir(parents=True, exist_ok=True)
    headers = build_hf_headers()
    if urlparse(remote.location).netloc != urlparse(url).netloc:
        headers.pop("authorization", None)  # the token is for the hub, not for its file storage
    with WeakFileLock(part.with_suffix(".lock")):
        if blob.exists():
            return
        with part.open("ab") as file:
            http_get(remote.location, file, resume_size=file.tell(), headers=headers, expected_size=remote.size)
        if not _is_complete(part, remote.etag, remote.size):
            part.unlink()
            raise UserError(
                f"{repository}: {name} did not arrive as the hub lists it: repeat the command, it is fetched anew."
            )
        open_to_others(part)  # the hub's cache is not in FDA_HOME, and users may share it
        os.replace(part, blob)


def _is_complete(path: Path, etag: str, size: int) -> bool:
    if path.stat().st_size != size:
        return False
    if len(etag) != SHA256:
        return True
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest() == etag
