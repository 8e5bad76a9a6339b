"""Prose rules that a test can hold: docstrings, banned words, the length of the README.

Imports nothing of the code, so that it runs in a second.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
CODE = ("kindred", "service", "training", "benchmarks")
FOLDERS = (*CODE, "tests", "docs", "deploy", "experiments", ".github")
SUFFIXES = {".py", ".md", ".js", ".yml", ".yaml", ".toml"}

_VERBS = """
abort accept acquire add admit aggregate allocate append apply assert assign attach await begin bind
block build cache calculate call cancel change check choose classify close collect combine commit
compact compare compile compress compute concatenate configure confirm connect continue convert copy
count create crop decode decompress decrease delete describe deserialize detect determine disable
discard divide download draw drop embed emit enable encode end enqueue ensure estimate evaluate
evict exchange expand export extend extract fail fetch fill filter find finish fit flatten flip
flush forget format generate get give group handle hash hold identify ignore import increase index
initialize insert inspect install iterate join keep leave let limit link list load lock log lower
make map mark mask match measure merge migrate mirror move name normalize notify omit open order
parse paste pause plot point pop predict prepare print process produce profile project propagate
protect publish put quantize query queue raise rank re-embed read receive record recover reduce
refuse register reject release reload remove rename render repeat replace reply report request
rescore reserve reset resize resolve respond restart restore resume retry return reuse revert
rewrite rotate round run sample saturate scale schedule search select send serialize serve set shift
show shut silence simulate skip sort split start stop store stream study subtract sum summarize
suppress suspend swap synchronize take terminate toggle trace track train transform transpose
traverse truncate tune undo unlock update upgrade upload use validate verify visit wait walk warm
warn wrap write yield
"""
VERBS = frozenset(_VERBS.split())
"""First words that a docstring of a function may have."""

BANNED = re.compile(
    r"\b(whoever|whosoever|whomever|nobody|somebody|meanwhile|anew|wherever|whatever"
    r"|guests?|kin|be it|for ever|gives? way|looked for beside)\b",
    re.IGNORECASE,
)
MOTTO = "and its kin"
WORDS, MEAN, LONGEST = 650, 18, 30

_DOCSTRINGS = """
"""
_BANNED_WORDS = """
"""
NOT_YET = {"docstrings": _DOCSTRINGS.split(), "words": _BANNED_WORDS.split()}
"""Files that are still to be rewritten; must end up empty."""


def docstrings(file: Path) -> Iterator[str]:
    """Yield the docstrings of the functions in a file, without those of properties."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_property = any("property" in ast.unparse(one) for one in node.decorator_list)
            if not is_property and (text := ast.get_docstring(node)):
                yield text


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def test_docstrings_of_functions_begin_with_an_imperative_verb() -> None:
    wrong: dict[str, list[str]] = {}
    for folder in CODE:
        for file in (ROOT / folder).rglob("*.py"):
            for text in docstrings(file):
                first = re.match(r"[\w-]*", text)
                if not first or first.group().lower() not in VERBS:
                    wrong.setdefault(name(file), []).append(text.splitlines()[0])
    assert {at: lines for at, lines in wrong.items() if at not in NOT_YET["docstrings"]} == {}


def test_no_file_has_a_banned_word() -> None:
    inner = (file for folder in FOLDERS for file in (ROOT / folder).rglob("*"))
    wrong: dict[str, set[str]] = {}
    for file in [*inner, *ROOT.iterdir()]:
        if file == Path(__file__) or not (file.suffix in SUFFIXES or file.name == "Makefile"):
            continue
        text = file.read_text(encoding="utf-8").replace(MOTTO, "")
        if found := set(map(str.lower, BANNED.findall(text))):
            wrong[name(file)] = found
    assert {at: words for at, words in wrong.items() if at not in NOT_YET["words"]} == {}


def readme() -> str:
    """Return the README without code blocks, tables, images and the targets of links."""
    text = re.sub(
        r"```.*?```", "\n\n", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.S
    )
    text = re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)
    return re.sub(r"!?\[(.*?)\]\([^)]*\)", r"\1", text, flags=re.DOTALL)


def sentences() -> Iterator[int]:
    """Yield the number of words of each sentence of the README."""
    for block in re.split(r"\n\s*\n|^\s*[-\d]+[.]?\s|^#+.*$", readme(), flags=re.MULTILINE):
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z`*\[(])", " ".join(block.split())):
            if (count := len(re.findall(r"[\w`'./-]*\w[\w`'./-]*", sentence))) > 1:
                yield count


def test_the_readme_is_short() -> None:
    assert len(readme().split()) <= WORDS


def test_the_sentences_of_the_readme_are_short() -> None:
    counts = list(sentences())
    assert sum(counts) / len(counts) <= MEAN
    assert max(counts) <= LONGEST
