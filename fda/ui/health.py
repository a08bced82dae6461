"""`/health`: whether this server can serve, for a load balancer, a container or systemd. It shows nothing of any run.

Streamlit's own `/_stcore/health` answers as soon as the server listens, whatever becomes of FDA_HOME.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fda.errors import UserError
from fda.ui.feed import address

PATH = "/health"


def route() -> Route:
    """The server's route to its health."""
    return Route(address(PATH), answer)


def answer(_: Request) -> JSONResponse:
    """`{"ready": true, "problems": []}` with status 200; with a problem 503."""
    all_problems = problems()
    return JSONResponse(
        {"ready": not all_problems, "problems": all_problems},
        status_code=503 if all_problems else 200,
        headers={"Cache-Control": "no-store"},
    )


def problems() -> list[str]:
    """What keeps the server from serving; the path of FDA_HOME is not told to strangers."""
    # imported here: these take 0.15 s, for which the server would not listen yet
    from fda.store.refusals import LEAST_COMFORTABLE, free_bytes
    from fda.store.store import Store

    store, all_problems = Store(), []
    try:
        store.runs(limit=1)
    except UserError:
        all_problems.append("the store cannot be read: `python -m fda doctor` says why.")
    if store.home.is_dir() and free_bytes(store.home) < LEAST_COMFORTABLE:
        all_problems.append("the disk of FDA_HOME is full: delete runs or give it room.")
    return all_problems
