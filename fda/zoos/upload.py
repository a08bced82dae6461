"""Upload a folder to the hub with huggingface_hub, and read a model's licence. `fda.stages.export` makes the folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fda.errors import UserError
from fda.zoos.hub import hub_errors
from fda.zoos.hub_ids import is_hub_id, split_id


def require_repository(name: str) -> None:
    """UserError if `name` is not the id of a repository. Call it before any work."""
    if not is_hub_id(name) or split_id(name).name != name:
        raise UserError(f"{name} is no repository to push to: give org/name.")


def upload(folder: Path, name: str, *, private: bool = False) -> str:
    """Upload a folder's files as one commit and return its URL; creates a missing repository. UserError as `hub_errors`."""
    from huggingface_hub import HfApi, errors

    with hub_errors(name):
        try:
            HfApi().create_repo(name, private=private, exist_ok=True)
            return str(
                HfApi().upload_folder(repo_id=name, folder_path=folder, commit_message="Merged model").commit_url
            )
        except errors.HfHubHTTPError as error:
            if error.response is None or error.response.status_code not in (401, 403):
                raise
            raise UserError(
                f"{name} may not be written to ({error.response.status_code}): run `hf auth login`, or set HF_TOKEN to a token "
                "that may write there."
            ) from None


def stated_licence(model: str, folder: Path, *, ask: bool = False) -> dict[str, str]:
    """Return the licence fields of a model card's front matter; empty if unknown.

    Reads the card in the model's local folder; without one, `ask` allows a request to the hub. UserError as `hub_errors`.
    """
    from huggingface_hub import HfApi, ModelCard

    if (folder / "README.md").is_file():
        try:
            return _licence(ModelCard.load(folder / "README.md", ignore_metadata_errors=True).data.to_dict())
        except (OSError, ValueError):
            return {}
    if not ask or not is_hub_id(model):
        return {}
    name, revision, _ = split_id(model)
    with hub_errors(model):
        card = HfApi().model_info(name, revision=revision).card_data
    return {} if card is None else _licence(card.to_dict())


def _licence(card: Mapping[str, Any]) -> dict[str, str]:
    fields = ("license", "license_name", "license_link")
    return {field: card[field] for field in fields if isinstance(card.get(field), str)}
