"""What every page teaches: one short text with its equation, and the same texts are all that lie in the folder."""

import re

import pytest
from streamlit.testing.v1 import AppTest

from fda.errors import UserError
from fda.home import REPO
from fda.store.analyses import PANELS
from fda.ui import pages, survey
from fda.ui.page import TEXTS

VIEWS = {
    "Units": ("units", "anchors"),
    "Scores": ("scores",),
    "Examples": ("examples",),
    "Landscape": ("landscape",),
    "Analyses": ("analyses",),
}
SHOWN = [  # (page, query, its texts)
    *((path.removesuffix(".py"), {}, (path.removesuffix(".py"),)) for path, *_ in pages.PAGES if path != pages.RUN),
    *(("run", {"view": view}, texts) for view, texts in VIEWS.items()),
]
NAMES = [name for *_, texts in SHOWN for name in texts]
OF_PANELS = [f"analyses/{panel}" for panel in PANELS]
WORDS = 120


def test_there_is_a_text_for_every_page_and_none_beside():
    assert sorted(path.stem for path in TEXTS.glob("*.md")) == sorted(NAMES)
    assert sorted(path.stem for path in TEXTS.glob("analyses/*.md")) == sorted(PANELS)


@pytest.mark.parametrize("name", [*NAMES, *OF_PANELS])
def test_a_text_is_short_and_has_an_equation(name):
    content = (TEXTS / f"{name}.md").read_text(encoding="utf-8")
    equations = re.findall(r"\$\$.+?\$\$", content, re.DOTALL)
    assert equations and all(one.count("{") == one.count("}") for one in equations)
    assert len(re.sub(r"\$\$.+?\$\$", "", content, flags=re.DOTALL).split()) <= WORDS


@pytest.mark.parametrize(("page", "query", "texts"), SHOWN)
def test_a_page_shows_its_text_even_when_there_is_nothing_else_to_show(page, query, texts, tmp_path, monkeypatch):
    monkeypatch.setenv("FDA_HOME", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise UserError("nothing")

    monkeypatch.setattr(survey, "answer", refuse)
    monkeypatch.setenv("FDA_MIXER_GB", "0")  # no process of the Mixer is small enough
    app = AppTest.from_file(str(REPO / "pages" / f"{page}.py"), default_timeout=30)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    (box,) = [one for one in app.get("popover") if one.proto.popover.label == "Help"]
    about, *shown = (one.value for one in box.markdown)
    assert about.startswith("**")
    assert shown == [(TEXTS / f"{name}.md").read_text(encoding="utf-8").strip() for name in texts]
