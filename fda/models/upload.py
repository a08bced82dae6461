"""A folder onto the hub, through huggingface_hub. What is in it is left to `fda.models.export`."""

from pathlib import Path

from fda.errors import UserError
from fda.models.hub import is_hub_id, told


def require_repository(name: str) -> None:
    """UserError, before any work, for what is no id of a repository."""
    if not is_hub_id(name) or "@" in name:
        raise UserError(f"{name} is no repository to push to: give org/name.")


def upload(folder: Path, name: str, *, private: bool = False) -> str:
    """Upload a folder's files as one commit, making the repository if need be; the commit's address. UserError as `told`."""
    from huggingface_hub import HfApi

    with told(name):
        HfApi().create_repo(name, private=private, exist_ok=True)
        return str(HfApi().upload_folder(repo_id=name, folder_path=folder, commit_message="Merged model").commit_url)
