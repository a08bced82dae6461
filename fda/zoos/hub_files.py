"""One file of a hub repository: its header by range requests, or its bytes into the hub's cache, going on where it stopped.

The client itself (huggingface_hub 2.4) starts a file anew in each process; here the part that came is kept beside the cache's
blobs. Errors are the client's: `fda.zoos.hub.told` makes sentences of them.
"""

import os
from hashlib import file_digest
from pathlib import Path
from urllib.parse import urlparse

from fda.checkpoints.weights import TensorInfo
from fda.errors import UserError
from fda.home import open_to_others
from fda.zoos.hub_ids import inside

SHA256 = 64  # hexadecimal digits of the etag of a file in large-file storage: its SHA-256


def remote_header(repository: str, name: str, commit: str) -> dict[str, TensorInfo]:
    """Tensor → shape and dtype of a safetensors file on the hub; two range requests at most, some KB."""
    from huggingface_hub import HfApi

    found = HfApi().parse_safetensors_file_metadata(repository, name, revision=commit).tensors
    return {name: TensorInfo(tuple(one.shape), one.dtype) for name, one in sorted(found.items())}


def bring(repository: str, name: str, commit: str, cache: Path) -> None:
    """Put a file's bytes among the blobs of a repository's `cache`, unless they are there.

    Whole or not at all; the part that came stays in `cache`/.fda for the next time. UserError if what came is not what the hub
    lists.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    url = hf_hub_url(repository, name, revision=commit)
    known = get_hf_file_metadata(url)
    if known.etag is None or known.size is None:
        return
    blob, part = inside(cache, "blobs", known.etag), inside(cache, ".fda", "parts", known.etag)
    for path in (blob, part):
        path.parent.mkdir(parents=True, exist_ok=True)
    headers = build_hf_headers()
    if urlparse(known.location).netloc != urlparse(url).netloc:
        headers.pop("authorization", None)  # a token is for the hub, not for where it keeps its files
    with WeakFileLock(part.with_suffix(".lock")):
        if blob.exists():
            return
        with part.open("ab") as file:
            http_get(known.location, file, resume_size=file.tell(), headers=headers, expected_size=known.size)
        if not _is_whole(part, known.etag, known.size):
            part.unlink()
            raise UserError(
                f"{repository}: {name} did not arrive as the hub lists it: repeat the command, it is fetched anew."
            )
        open_to_others(part)  # the hub's cache is no part of FDA_HOME, and may be shared
        os.replace(part, blob)


def _is_whole(path: Path, etag: str, size: int) -> bool:
    if path.stat().st_size != size:
        return False
    if len(etag) != SHA256:
        return True
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest() == etag
