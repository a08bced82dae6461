"""Every page in both themes, checked by axe: nothing that it calls serious or critical."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from fda.cancel import NEVER
from fda.requests.runs import construct_settings, make_spec
from fda.stages.execute import execute
from fda.store.store import Store
from fda.ui import pages

pytestmark = pytest.mark.browser

OF_A_RUN = (
    "run",
    "run?tab=Alignment",
    "run?view=Scores",
    "run?view=Examples",
    "run?view=Landscape",
    "run?view=Analyses",
)
PAGES = [*(path.removesuffix(".py") for path, *_ in pages.PAGES if path != pages.RUN), *OF_A_RUN]
READY = "document.querySelectorAll('.fda-figure svg').length > 0"


@pytest.fixture(scope="module")
def run_id(server, tiny_zoo):
    """A finished run of the tiny zoo, for the pages that show one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDA_HOME", str(server.home))
        store = Store(server.home)
        spec = make_spec(
            tiny_zoo,
            construct=construct_settings("fast", steps=6, anchors=4),
            methods=("pretrained", "individual", "ta", "fda:ta"),
            device="cpu",
        )
        made = store.create_run(spec)
        execute(store, made, NEVER)
        store.set_state(made, "done")
    return made


def address(name: str, run_id: str) -> str:
    if name not in OF_A_RUN:
        return f"/{'' if name == 'home' else name}"
    return f"/{name}{'&' if '?' in name else '?'}run={run_id}"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_has_a_serious_finding(theme, visit, run_id):
    visit.page.emulate_media(color_scheme=theme)
    axe = Axe()
    found = []
    for name in PAGES:
        page = visit.open(address(name, run_id))
        if name in (*OF_A_RUN[:-1], "playground"):
            page.wait_for_function(READY)
        for one in axe.run(page).response["violations"]:
            if one["impact"] in ("serious", "critical"):
                found += [f"{name}: {one['id']} at {node['html'][:120]}" for node in one["nodes"]]
        visit.check()
    assert found == []
