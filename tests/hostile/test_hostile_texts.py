"""Attack: texts of strangers that are markup, links, pictures, formulas or commands where they are shown or exported."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from markdown_it import MarkdownIt

from fda import escape
from fda.cancel import NEVER
from fda.figures.curves import cosine_bars
from fda.figures.neighbours import neighbour_map
from fda.report.markup import to_html, to_latex, to_markdown
from fda.report.model_card import model_card
from fda.report.model_loading import Loading, loading_code
from fda.report.run_report import run_report
from fda.requests.preview import preview
from fda.requests.runs import make_spec
from fda.stages.execute import execute
from fda.store.records import MethodResult, Run
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.ui import notices
from fda.ui import survey as pages_survey
from fda.zoos.survey import survey
from fda.zoos.zoo import load_zoo
from tests.pages.test_pages import page
from tests.zoos.test_zoo_keys import written

PICTURE = "![x](http://evil.example/a.png)"
TEXTS = (
    PICTURE,
    "<img src=http://evil.example/a.png onerror=alert(1)>",
    "[click](http://evil.example)",
    "[click][one]\n\n[one]: http://evil.example",
    "<http://evil.example/a>",
    "https://evil.example/a, www.evil.example and me@evil.example.",
    "`code` ``two` ![x](http://evil.example) ```",
    "```\n# heading\n![x](http://evil.example)",
    "---\nlicense: mit\n---\n# heading",
    "- a list\n- of two",
    "1. a list",
    "> said",
    "| a | b |\n|---|---|\n| c | ![x](u) |",
    ":material/delete: :red[x] $a$ ~~gone~~ **bold** _thin_",
    "&#33;&#91;x&#93;(http://evil.example) \\![x](u)",
    "</script><script>alert(1)</script>",
    "\\input{/etc/passwd} \\write18{id} $x$ % {} # & ~ ^",
)
FORMULAS = (
    '=HYPERLINK("http://evil.example","x")',
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+9)*cmd|' /C calc'!A0",
    "\t=1+1",
    "\r=1+1",
    " =1+1",
    "＝1+1",
)
EVIL = " ".join((PICTURE, TEXTS[1], TEXTS[2], "`", FORMULAS[0], "\\input{x}"))
TABLE = ("table", "thead", "tbody", "tr", "th", "td")
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def plain(text: str) -> str:
    return " ".join(text.split())


def seen(markdown: str) -> tuple[set[str], str]:
    """The kinds of what a Markdown parser finds, text and code excepted, and the text that a reader sees."""
    kinds, shown = set(), []
    for token in PARSER.parse(markdown):
        for one in [token, *(token.children or [])]:
            kinds.add(one.type)
            if one.type in ("text", "code_inline", "code_block", "fence"):
                shown.append(one.content)
    return kinds - {"paragraph_open", "paragraph_close", "inline", "text", "code_inline", "softbreak"}, "".join(shown)


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.found.append((tag, dict(attributes)))


# one function a format -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", (*TEXTS, *FORMULAS, EVIL))
def test_markdown_shows_a_text_as_it_is(text):
    assert seen(escape.markdown(text)) == (set(), plain(text))


@pytest.mark.parametrize("text", (*TEXTS, EVIL))
def test_markdown_makes_no_address_a_link(text):
    """GitHub's Markdown, and Streamlit's, finds bare addresses in text, escaped or not, but not in code."""
    tokens = [one for token in PARSER.parse(escape.markdown(text)) for one in (token.children or [])]
    assert not any(re.search(r"https?://|www\.|\w@\w+\.", one.content) for one in tokens if one.type == "text")


@pytest.mark.parametrize("text", (*TEXTS, "`", "``", "a`", "` `"))
def test_code_and_fences_of_markdown_hold_what_is_in_them(text):
    assert seen(escape.code(text)) == (set(), plain(text))
    assert seen(escape.fence("yaml", text)) == ({"fence"}, f"{text}\n")


@pytest.mark.parametrize("text", (*TEXTS, EVIL))
def test_a_sentence_of_a_page_is_neither_picture_nor_link(text):
    kinds, _ = seen(notices.sentence(f"the field `a_b` of {text} is wrong"))
    assert kinds == set()


@pytest.mark.parametrize("text", TEXTS)
def test_latex_has_no_command_of_a_text(text):
    commands = set(re.findall(r"\\[a-zA-Z]+|\\.", escape.latex(text)))
    assert commands <= {
        r"\&",
        r"\%",
        r"\$",
        r"\#",
        r"\_",
        r"\{",
        r"\}",
        r"\textasciitilde",
        r"\textasciicircum",
        r"\textbackslash",
    }
    assert not re.search(r"(?<!\\)[%$#&_~^]", escape.latex(text).replace("{}", "")) and "\n" not in escape.latex(text)


def test_csv_has_no_formula_and_numbers_stay_numbers():
    table = pd.DataFrame(
        {
            "text": [*FORMULAS, "plain", "a-b", ""],
            "numbers as text": ["-0.3", "+1", "-1e-05", "-.5", "=1", "@", "-", "-1-1", None, "0", "1"],
            "value": [-0.3, -1.0, 2.0, float("nan"), -5.5, 1e-9, 0.0, 1.0, 2.0, 3.0, 4.0],
            "count": np.arange(-5, 6),
            "=head": [True] * 11,
        }
    )
    rows = list(csv.reader(io.StringIO(escape.csv(table).decode(), newline="")))
    assert rows[0] == ["text", "numbers as text", "value", "count", "'=head"]
    assert [row[0] for row in rows[1:]] == [*("'" + text.replace("\r", "\n") for text in FORMULAS), "plain", "a-b", ""]
    assert [row[1] for row in rows[1:]] == ["-0.3", "+1", "-1e-05", "-.5", "'=1", "'@", "'-", "'-1-1", "", "0", "1"]
    read = pd.read_csv(io.BytesIO(escape.csv(table)))
    np.testing.assert_array_equal(read["value"], table["value"])
    assert read["count"].tolist() == list(range(-5, 6))


def test_plotly_gets_text_and_no_tags():
    names = [f"{EVIL} {place}" for place in range(4)]
    points = np.arange(8, dtype=np.float32).reshape(4, 2)
    drawn = neighbour_map(points[:1], points, np.array([[0, 1]]), names, "light", title="a map").figure
    bars = cosine_bars(names, np.ones(4), np.ones(4), "light", unit="digits")
    for figure in (drawn, bars):
        text = json.dumps(figure.to_plotly_json(), default=lambda one: one.tolist())
        assert "<img" not in text and "<a" not in text and "&lt;img" in text


# what is exported --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", (*TEXTS, *FORMULAS))
def test_tables_in_every_format_hold_the_text(text):
    table = pd.DataFrame({text: [text, "b"], "n": [1.0, -0.3]})
    kinds, _ = seen(to_markdown(table))
    whole = {f"{tag}_{end}" for tag in TABLE for end in ("open", "close")}
    assert kinds <= whole
    assert {tag for tag, _ in Tags(to_html(table)).found} == set(TABLE)
    assert escape.latex(text) in to_latex(table) and r"\input" not in to_latex(table)


@pytest.fixture(scope="module")
def made(tiny_zoo, tmp_path_factory) -> tuple[Path, Store, Run]:
    """A zoo whose every free text is hostile, and a finished run of it with a method that failed."""
    folder = tmp_path_factory.mktemp("hostile")
    named = folder / "![x](http:"  # a folder whose name is half a picture
    named.mkdir()
    changes = {
        "description": EVIL,
        "tasks.0.title": FORMULAS[0],
        "tasks.0.description": EVIL,
        "tasks.1.description": PICTURE,
    }
    path = written(tiny_zoo, named, **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDA_HOME", str(folder / "home"))
        store = Store(folder / "home")
        run_id = store.create_run(make_spec(path, methods=("ta",), device="cpu"))
        execute(store, run_id, NEVER)
        store.add_result(run_id, MethodResult("ties", "failed", {}, None, None, EVIL))
        store.set_state(run_id, "failed", EVIL)
    return path, store, store.run(run_id)


def test_the_model_card_is_front_matter_and_text(made):
    _, store, run = made
    loading = Loading("transformers", "X\nimport os", images=True, location='a"); import os; ("')
    card = model_card(store, run, "ta", loading, licence={"license": EVIL})
    begin, front, text = card.split("---\n", 2)
    assert begin == "" and yaml.safe_load(front)["license"] == EVIL
    kinds, shown = seen(text)
    assert not kinds & {"image", "link_open", "html_block", "html_inline"}
    assert PICTURE in shown
    fences = [token for token in PARSER.parse(text) if token.type == "fence"]
    assert [fence.info for fence in fences] == ["python", "bash", "yaml"]
    assert yaml.safe_load(fences[2].content)["description"] == EVIL


def test_the_code_of_a_card_is_what_it_seems():
    for kind in ("open_clip", "transformers"):
        own = Loading(kind, "X\nimport os", images=True, location='a"); import os; ("', heads=("red",), pushed=True)
        code = loading_code(own)
        assert all(line in code for line in ("import torch",)) and not re.search(r"^import os", code, re.MULTILINE)
        compile(code, "card", "exec")
        assert not [line for line in code.splitlines() if re.search(r"(?<!\\)\"\); import", line)]


def test_the_report_has_no_tag_of_a_text(made):
    _, store, run = made
    found = Tags(run_report(store, run)).found
    assert {tag for tag, _ in found} <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "dl", "dt", "dd", "section", "div", "script", "p",
        "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "a", "pre",
    }  # fmt: skip
    assert not any("onerror" in attributes for _, attributes in found)
    links = [attributes["href"] for tag, attributes in found if tag == "a"]
    assert links and all(link.startswith("data:text/csv;base64,") for link in links)


# the pages ---------------------------------------------------------------------------------------------------------------

MARKDOWN = (
    "markdown",
    "caption",
    "error",
    "info",
    "warning",
    "success",
    "title",
    "header",
    "subheader",
    "expander",
    "tabs",
)
WIDGETS = ("button", "selectbox", "multiselect", "text_input", "number_input", "toggle", "checkbox", "slider", "metric")


def texts(at: object) -> list[str]:
    """Everything on a page that Streamlit reads as Markdown, as far as AppTest tells of it."""
    values = [str(one.value) for kind in MARKDOWN[:9] for one in getattr(at, kind)]
    labels = [one.label for kind in (*WIDGETS, *MARKDOWN[9:]) for one in getattr(at, kind)]
    return [*values, *labels]


def in_this_process(spec: RunSpec, **_: object) -> dict:
    """What the pages' helper runs answer, without their start."""
    zoo = load_zoo(spec.zoo_path)
    return preview(zoo).model_dump(mode="json") if spec.kind == "preview" else survey(zoo, "zoo.yaml")


@pytest.mark.parametrize("name", ["home", "checkpoints", "construct", "watch", "compare", "anchors", "landscape"])
def test_no_page_fetches_a_picture_or_offers_a_link(made, monkeypatch, tiny_zoo, name):
    path, _, run = made
    monkeypatch.setenv("FDA_HOME", str(path.parent.parent / "home"))
    monkeypatch.setenv("FDA_MODEL_ROOTS", f"{path.parent.parent}:{tiny_zoo.parent}")
    monkeypatch.setattr(pages_survey, "answer", in_this_process)
    query = {"zoo": str(path)} if name in ("checkpoints", "construct") else {"run": run.run_id}
    at = page(name, **query)
    found = texts(at)
    assert found
    for text in found:
        kinds, shown = seen(text)
        assert "image" not in kinds, text
        assert "evil.example" not in "".join(
            one.attrGet("href") or "" for token in PARSER.parse(text) for one in (token.children or [])
        ), text
        assert not re.search(r"<img|<script", shown) or "html_inline" not in kinds
    if name == "checkpoints":
        assert any(PICTURE in seen(text)[1] for text in found), "the description is shown as it is"
        assert next(one.value for one in at.dataframe if "title" in one.value)["title"][0] == f"'{FORMULAS[0]}"
    if name in ("watch", "compare"):
        assert any(PICTURE in seen(error.value)[1] for error in at.error), "what failed is shown as it is"


def test_a_command_to_copy_is_one_command(monkeypatch, tmp_path):
    monkeypatch.setenv("FDA_HOME", str(tmp_path))
    at = page("checkpoints", zoo="/tmp/$(touch evil);`id`/zoo.yaml")
    for shown in at.code:
        for line in shown.value.splitlines():
            assert "'/tmp/$(touch evil);`id`/zoo.yaml'" in line
