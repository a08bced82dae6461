"""A stand-in hub and a client of it, for a file whose fixture `repositories` is (the hub's root, the path of a zoo)."""

from http.server import ThreadingHTTPServer

import pytest

from tests.support.hub_client import HubClient, hub_client
from tests.support.stand_in_hub import stand_in_hub


@pytest.fixture(scope="module")
def hub_and_client(repositories, tmp_path_factory):
    home = tmp_path_factory.mktemp("client") / "home"
    with stand_in_hub(repositories[0]) as hub, hub_client(hub.address, home) as client:
        yield hub, client


@pytest.fixture
def hub(hub_and_client, repositories) -> ThreadingHTTPServer:
    """The hub as it was before any test; a test may give it another `root`."""
    hub, _ = hub_and_client
    hub.root, hub.gated, hub.drops = repositories[0], set(), 0
    hub.asked.clear()
    return hub


@pytest.fixture
def fda(hub_and_client) -> HubClient:
    """`python -m fda` as a client of the hub that has downloaded nothing yet."""
    _, client = hub_and_client
    client.forget()
    return client
