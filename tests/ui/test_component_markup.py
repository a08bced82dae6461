"""What a component shows before its script has run already has names for a screen reader."""

from html.parser import HTMLParser

import pytest

from fda.ui import components

MARKUP = sorted(components.FOLDER.glob("*.html"))
NAMED = ("img", "application", "progressbar")  # roles of a drawing that only a label can name


class Unnamed(HTMLParser):
    """Lists buttons without a word and drawings without a label."""

    def __init__(self):
        super().__init__()
        self.found, self.button = [], None

    def handle_starttag(self, tag, attributes):
        have = dict(attributes)
        if have.get("role") in NAMED and not have.get("aria-label"):
            self.found.append(self.get_starttag_text())
        if tag == "button":
            self.button = None if have.get("aria-label") else self.get_starttag_text()

    def handle_data(self, data):
        if data.strip():
            self.button = None

    def handle_endtag(self, tag):
        if tag == "button" and self.button:
            self.found.append(self.button)


@pytest.mark.parametrize("path", MARKUP, ids=lambda path: path.stem)
def test_buttons_and_drawings_have_names(path):
    reader = Unnamed()
    reader.feed(path.read_text())
    assert reader.found == []
