"""The gate: whether a person may do something, and whether they have not too much of it already.

Every action of a page that starts, stops, changes, deletes or hands out something passes `permit`, whatever button, message or
forged state asked for it. The command line acts for the owner of FDA_HOME and passes always.
"""

from typing import Literal

from fda.access import read_access
from fda.actor import Actor, actor
from fda.errors import UserError
from fda.jobs.liveness import LiveStore
from fda.store.disk import bytes_below
from fda.store.records import ACTIVE, ANALYSES, KINDS, StoredRun
from fda.store.store import ALL, Store

Action = Literal["start", "stop", "resume", "delete", "undelete", "move", "describe", "mix", "change zoos", "download"]
WORDS: dict[Action, str] = {
    "start": "start runs",
    "stop": "stop runs",
    "resume": "resume runs",
    "delete": "delete runs",
    "undelete": "bring back deleted runs",
    "move": "move runs",
    "describe": "name or tag runs",
    "mix": "use the mixer",
    "change zoos": "save or delete zoo files",
    "download": "download",
}
TRANSFERS = ("export", "download")  # kinds of runs that write or fetch gigabytes


class NotAllowed(UserError):
    """The person may not do this."""


def refusal(action: Action, run: StoredRun | None = None) -> str | None:
    """Why the present actor may not do this to the run; None if they may. For buttons, which say so in their help."""
    try:
        permit(action, run)
    except UserError as error:
        return str(error)
    return None


def permit(action: Action, run: StoredRun | None = None) -> None:
    """NotAllowed, which says why, unless the present actor may do this, to `run` if it is about one."""
    who, access = actor(), read_access()
    # A thread may go on with what a person began when they had another role.
    role = access.role_of(who.name) if who.limited and access.gives_roles else who.role
    if role is None:
        raise NotAllowed(f"you have no role here and may not {WORDS[action]}: ask an administrator for one.")
    if role == "viewer":
        raise NotAllowed(f"you are a viewer and may not {WORDS[action]}: ask an administrator for the role operator.")
    if role == "operator" and run is not None and run.started_by != who.name:
        raise NotAllowed(
            f"you may not {WORDS[action]} of others: run {run.run_id} was started by {run.started_by or 'somebody unknown'}."
        )


def require_room(store: Store, kind: str) -> None:
    """UserError if the present actor has as many runs, transfers or bytes as access.toml allows, before one of `kind`."""
    who, limits = actor(), read_access().limits
    if not who.limited:
        return
    if kind in TRANSFERS:
        _require_fewer(store, who, TRANSFERS, limits.transfers, "exports and downloads")
    elif kind in ANALYSES:
        _require_fewer(store, who, ANALYSES, limits.runs, "runs")
    if limits.disk_gb is not None and kind in (*ANALYSES, "export"):
        mine = [run for run in store.all_stored(kinds=KINDS, limit=ALL) if run.started_by == who.name]
        taken = sum(bytes_below(store.run_dir(run.run_id), at_work=run.active) for run in mine)
        if taken >= limits.disk_gb * 1e9:
            raise UserError(
                f"the runs of {who.name} take {taken / 1e9:.1f} GB on the disk, and {limits.disk_gb:g} GB are allowed: delete "
                "some first."
            )


def _require_fewer(store: Store, who: Actor, kinds: tuple[str, ...], most: int | None, what: str) -> None:
    if most is None:
        return
    active = LiveStore(store.home).all_stored(states=ACTIVE, kinds=kinds, limit=ALL)
    mine = sum(run.started_by == who.name for run in active)
    if mine >= most:
        raise UserError(
            f"{who.name} has as many {what} waiting or at work as are allowed ({most}): wait for one, or stop one first."
        )
