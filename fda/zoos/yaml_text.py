"""Read untrusted YAML at a cost that grows with its length, which is limited too.

Text longer than `LONG` is parsed in a child process: even within the limits, 2 MB take some seconds.

YAML 1.1 has base-60 numbers that cost quadratic time, numeric keys that can be constructed to share one hash, and aliases that
double a text with every line. All of this is counted before any value is constructed. Knows nothing of zoos.
"""

import json
import re
import sys
from typing import Any

import yaml

from fda.children import Limits, run_child
from fda.errors import UserError

# A large zoo with thirty tasks of a thousand class names has 40,000 entries, 1 MB and six levels. Its longest number or date is
# a full float (24 characters).
MOST_BYTES = 2_000_000
MOST_ENTRIES = 100_000
DEEPEST = 100
LONGEST_NUMBER = 64
LONG = 64 * 1024  # characters: at worst a quarter of a second; all shipped zoos are shorter
LIMITS = Limits(seconds=30, memory=2**30)
MOST_DIRECTIVES = 8  # lines `%…`; the parser compares each with all previous ones
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)
_NO_CHARACTER = re.compile(r"[\ud800-\udfff]")
# libyaml, included in every wheel of PyYAML, parses about 20 MB/s; the Python parser 0.1 MB/s.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(text: str, what: str) -> Any:
    """Parse the text. UserError that begins with `what` if it is not one YAML document, or exceeds a limit."""
    if len(text) > LONG:
        words = ("-m", "fda.zoos.yaml_text", what)
        done = run_child(words, LIMITS, what=what, instead="keep to what a zoo needs", text=text)
        if done.returncode != 0:
            raise UserError((done.stderr.strip().splitlines() or [f"{what} could not be read"])[-1])
        return json.loads(done.stdout)
    return _read(text, what)


def _read(text: str, what: str) -> Any:
    try:
        return parsed(text)
    except Unmeasured as error:
        raise UserError(f"{what} {error}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: malformed numbers and dates
        where = getattr(error, "problem_mark", None)
        last = max(len(text.splitlines()) - 1, 0)  # for a text that ends too early, libyaml gives the line after it
        line = f" (line {min(where.line, last) + 1})" if where is not None else ""
        raise UserError(f"{what}{line} is not YAML: correct it, or start from assets/zoos/demo.yaml.") from None


class Unmeasured(Exception):
    """The text exceeds a limit; the message, the end of a sentence, says which."""


def parsed(text: str) -> Any:
    """Parse the text. yaml.YAMLError or ValueError if it is not one YAML document, `Unmeasured` if it exceeds a limit."""
    if len(text) > MOST_BYTES or len(_DIRECTIVE.findall(text)) > MOST_DIRECTIVES:
        raise Unmeasured("is too long")
    _count_events(text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _entries(node, {}) > MOST_ENTRIES:
            raise Unmeasured("repeats its parts (&, *) without measure: write them out")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count_events(text: str) -> None:
    """Refuse a text with too many entries or levels before building its tree."""
    count, depth = 0, 0
    for event in yaml.parse(text, Loader=_Loader):
        count += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if count > MOST_ENTRIES:
            raise Unmeasured(f"has more than {MOST_ENTRIES:,} entries: keep to what a zoo needs")
        if depth > DEEPEST:
            raise yaml.YAMLError("it is nested too deeply")


def _entries(node: yaml.Node, known: dict[int, float]) -> float:
    """Count the scalars, lists and mappings of a node with all aliases expanded; infinite if it contains itself.

    `Unmeasured` for a scalar or key that could take unbounded time to parse or hash.
    """
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = float("inf")
    if isinstance(node, yaml.ScalarNode):
        _check_scalar(node)
        count = 1.0
    elif isinstance(node, yaml.MappingNode):
        _check_keys(node)
        count = 1 + sum(_entries(key, known) + _entries(value, known) for key, value in node.value)
    else:
        count = 1 + sum(_entries(part, known) for part in node.value)
    known[id(node)] = count
    return count


def _check_keys(node: yaml.MappingNode) -> None:
    """Refuse keys that are not text, and duplicate keys, of which YAML would silently keep the last."""
    names: set[str] = set()
    for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
        if key.tag not in (_TEXT, _MERGE):
            raise Unmeasured(
                f"{_line(key)} holds a field that is no text: correct the field `{key.value[:LONGEST_NUMBER]}`"
            )
        if key.value in names:
            raise Unmeasured(
                f"{_line(key)} has the key `{key.value[:LONGEST_NUMBER]}` twice in one place: leave one out"
            )
        names.add(key.value)


def _check_scalar(node: yaml.ScalarNode) -> None:
    if node.tag != _TEXT and len(node.value) > LONGEST_NUMBER:
        kind = node.tag.rsplit(":", 1)[-1]
        raise Unmeasured(
            f"{_line(node)} holds a value of type {kind} with {len(node.value):,} characters, and {LONGEST_NUMBER} are read: "
            "put quotes around it if it is a text"
        )
    if _NO_CHARACTER.search(node.value):
        raise Unmeasured(f"{_line(node)} holds a text with half a character (\\ud800 to \\udfff): correct it")


def _line(node: yaml.Node) -> str:
    return f"(line {node.start_mark.line + 1})"


def main() -> None:
    """Read YAML from standard input and write it as JSON; exit code 2 with a sentence on stderr."""
    what = sys.argv[1]
    try:
        answer = json.dumps(_read(sys.stdin.buffer.read().decode("utf-8"), what))
    except TypeError as error:  # dates, bytes and sets, which no field takes
        print(
            f"{what} holds a value that no field takes ({error}): put quotes around it if it is a text.",
            file=sys.stderr,
        )
        sys.exit(2)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(answer)


if __name__ == "__main__":
    main()
