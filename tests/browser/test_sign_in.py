"""A visitor signs in, looks, and signs out, in a real browser with a provider on this machine."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from fda.bench.dashboard import CHROMIUM, Server
from tests.support.browsing import PATIENCE

pytest.importorskip("authlib", reason="signing in needs Authlib, which requirements.txt names")
from tests.support.stand_in_provider import Provider, provider

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]


@pytest.fixture
def openid() -> Iterator[Provider]:
    with provider() as one:
        yield one


@pytest.fixture
def guarded(openid, tmp_path) -> Iterator[Server]:
    (tmp_path / "access.toml").write_text('[roles]\nviewer = ["*@guest.example"]\n')
    one = Server(tmp_path)
    one.options = ["--secrets.files", str(openid.secrets(tmp_path / "secrets.toml", one.url))]
    one.start()
    yield one
    one.stop()


def test_a_link_leads_through_signing_in_to_its_page(guarded, openid, window: Page):
    openid.person = {"sub": "7", "email": "eve@guest.example"}
    window.goto(f"{guarded.url}/construct?steps=77")
    link = window.get_by_role("link", name="Sign in")
    expect(link).to_be_visible()
    assert "Preset" not in window.content() and window.title() == "Functional dual anchors"
    link.click()
    expect(window.get_by_role("spinbutton", name="Steps")).to_have_value("77", timeout=1000 * PATIENCE)
    assert "steps=77" in window.url
    start = window.get_by_role("button", name="Start", exact=True)
    expect(start).to_be_disabled()
    start.hover(force=True)
    expect(
        window.get_by_text(re.compile("You are a viewer and may not start runs", re.IGNORECASE)).first
    ).to_be_visible()
    window.locator("[data-testid=stSidebarContent]").hover()
    expect(window.get_by_text("eve@guest.example")).to_be_visible()
    window.get_by_role("button", name="Sign out").click()
    expect(link).to_be_visible()
    window.goto(f"{guarded.url}/construct")
    expect(link).to_be_visible()
