"""From the source files of packages to pairs of texts: the first sentence of each docstring and the cleaned rest.

Docstrings are written for Sphinx in three dialects (reStructuredText fields, NumPy sections, Google sections), with
some Markdown. An embedding model is served best by the words alone, on one line: section titles keep their words and
lose their underlines, roles and links keep their text, examples keep their code and lose prompts and output, and what
speaks of the documentation rather than of the subject (references, "see also", version notes, plots) goes.
"""

import ast
import inspect
import os
import re
import string
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder
from itertools import zip_longest
from pathlib import Path

STDLIB = "python"
"""The name of the standard library."""
ANCHOR_WORDS = (4, 40)
"""Fewest and most words of an anchor."""
POSITIVE_WORDS = 12
"""Fewest words of a positive."""
POSITIVE_CHARACTERS = 2_000
"""A longer positive is cut here, at a word: about 500 tokens."""

_EXCLUDED_FOLDERS = {"test", "tests", "testing", "_testing", "benchmarks", "_vendor", "vendor", "extern", "externals"}
_SOURCE = re.compile(r"(?!test_|conftest\.)[^\W\d]\w*(?<!_test)\.py")
_EXCLUDED_STDLIB = {"antigravity", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "this", "turtledemo"}
# Internals, other projects' code, old copies, hundreds of copies of one text.
_EXCLUDED_MODULES = ("numpy.distutils.", "pydantic.v1.", "scipy._lib.", "torch._", "transformers.models.")

# docstring_parser gives worse text: of 4,000 docstrings it cut the first sentence of 15 % at the end of a line, and lost more than a tenth
# of the words of 44 %, in three times the time.
_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_Documented = ast.Module | _Definition
_READ_CHARACTERS = 4 * POSITIVE_CHARACTERS
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")
_UNDERLINE = re.compile(r"^([-=~^*#\"'+.])\1{2,}$")
_TITLE = re.compile(
    r"^(args|arguments|parameters|params|other parameters|keyword args|keyword arguments|attributes|returns?|yields?"
    r"|raises|warns|examples?|usage|notes?|warnings?|see also|seealso|references|shape|inputs?|outputs?)\s*(::?)?$",
    re.IGNORECASE,
)
_DROPPED_SECTIONS = {"see also", "seealso", "references"}
_DIRECTIVE = re.compile(r"^\.\.\s+([\w-]+)::\s*(.*)$")
_DROPPED_DIRECTIVES = {
    "autoclass", "autofunction", "automodule", "autosummary", "bibliography", "contents", "currentmodule",
    "deprecated", "figure", "image", "index", "legacy", "minigallery", "module", "plot", "seealso", "testsetup",
    "toctree", "versionadded", "versionchanged",
}  # fmt: skip
_SILENT_DIRECTIVES = {"code", "code-block", "highlight", "ipython", "math", "parsed-literal", "sourcecode", "testcode"}
_FIELD = re.compile(r"^[:@](\w+)(?:\s+([^:]*))?:(?:\s+(.*))?$")
_NAMED_FIELDS = {"param", "parameter", "arg", "argument", "key", "keyword", "kwarg", "kwparam", "ivar", "cvar", "var"}
_SPOKEN_FIELDS = {"return", "returns", "raise", "raises", "except", "exception", "yield", "yields"}
_LIST_ITEM = re.compile(r"^([-*+•]|#\.)\s+")
_FENCE = re.compile(r"^(```|~~~|%\(\w+\)s$)")  # or a template that is filled on import
_SENTENCE_END = re.compile(r"[.!?][)\"']?\s+(?=[\"'(]?[A-Z0-9])")
_ABBREVIATION = re.compile(r"\b((?i:e\.g|i\.e|etc|vs|cf|resp|approx|al|eq|fig|ref|no|dr|mr|st|incl|w\.r\.t)|[A-Z])\.$")
_SIGNATURE = re.compile(r"^[\w.]+\(.*\)(\s*(->|=).*)?$", re.DOTALL)
_ARGUMENT = re.compile(r"^[\w.]+(\s*[(\[].*?[)\]])?\s*:(\s|$)|^[\w.]+\s*[(\[].*\b(optional|defaults to|of shape)\b")
_BOILERPLATE = re.compile(
    r"deprecated|copyright|licen[sc]ed|^(initiali[sz]e self|see |refer to|alias |same as|todo|fixme|xxx|internal )|:$",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_STEM = re.compile(r"(?<![a-z])[a-z]{3,5}")
_EMPTY_STEMS = {
    "the", "and", "are", "for", "with", "from", "that", "this", "its", "not", "which", "retur", "get", "set", "given",
    "use", "used", "using", "all", "can", "will", "when", "into", "has", "have", "any", "each", "one",
}  # fmt: skip
_LETTERS = str.maketrans("", "", string.ascii_letters)

_TAGS = "a|b|br|code|div|em|h[1-6]|hfoptions?|i|img|li|ol|p|pre|small|span|strong|sub|sup|t[dhr]|table|tip|ul|youtube"
_INLINE = [  # (only where the text has this, pattern, replacement)
    ("<", re.compile(rf"</?(?:{_TAGS})\b[^<>]*>", re.IGNORECASE), ""),
    ("](", re.compile(r"!?\[([^\]\n]+)\]\((?:[^()\s]|\([^()]*\))*\)"), r"\1"),  # [text](address)
    ("`", re.compile(r"\[`+([^`\n]+)`+\]"), r"`\1`"),  # [`Name`]
    ("`", re.compile(r":[\w:+-]+:`+([^`<]+?)\s*<[^`>]*>`+"), r"\1"),  # :role:`text <target>`
    ("`", re.compile(r":[\w:+-]+:`+[~!](?:[^`\n]*\.)?([^`.\n]+)`+"), r"\1"),  # :role:`~package.Name`
    ("`", re.compile(r":[\w:+-]+:`+\.?([^`]+)`+"), r"\1"),  # :role:`text`
    ("`", re.compile(r"`([^`<\n]+?)\s*<[^`>\n]*>`__?"), r"\1"),  # `text <address>`_
    ("`~", re.compile(r"`+~(?:[^`\s]*\.)?([^`.\s]+)`+"), r"\1"),  # `~package.Name`
    ("`", re.compile(r"`+([^`]+)`+_{0,2}"), r"\1"),  # ``code``, `name`
    ("]_", re.compile(r"(,?\s+\(?[Ss]ee)?\s*\[[#*\w,. -]{1,20}\]_\)?"), ""),  # see [1]_
    ("**", re.compile(r"(?<![\w*])\*\*(?=\S)([^*\n]+?)(?<=\S)\*\*(?![\w*])"), r"\1"),  # **bold**
    ("*", re.compile(r"(?<![\w*])\*(?=[^\W_])([^*\n]+?)(?<=\S)\*(?![\w*])"), r"\1"),  # *emphasis*
    ("|", re.compile(r"(?<![\w|])\|(\w[\w .-]*)\|(?![\w|])"), r"\1"),  # |substitution|
    ("://", re.compile(r"(\b(at|in|see|from)\s+)?\(?\b(?:https?|ftp)://[^\s>\"')\]]+\)?", re.I), ""),
    ("# doctest", re.compile(r"#\s*doctest:\s*[+-]\w+"), ""),
    ("\\", re.compile(r"\\([*_`|])"), r"\1"),
    ("::", re.compile(r"::(?=\s|$)"), ":"),
    (" .", re.compile(r"\s+\.(?=\s|$)"), "."),
]


def source_files(package: str, search_path: Sequence[str] | None) -> Iterator[tuple[str, Path]]:
    """(dotted module, file) of every source file that is read."""
    for name, root in _roots(package, search_path):
        if root.is_file():
            yield name, root
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(f for f in folders if f.isidentifier() and f not in _EXCLUDED_FOLDERS)
            for file in sorted(filter(_SOURCE.fullmatch, files)):
                parts = [name, *Path(folder).relative_to(root).parts, file.removesuffix(".py")]
                module = ".".join(parts).removesuffix(".__init__")
                if not module.startswith(_EXCLUDED_MODULES):
                    yield module, Path(folder, file)


def read(file: Path) -> bytes:
    """The file's bytes; none if it cannot be read."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def public_name(module: str) -> str:
    """What is defined in a private module is offered by its public parent: scipy.linalg._decomp -> scipy.linalg."""
    return re.sub(r"\._.*", "", module)


def source_pairs(source: bytes) -> Iterator[tuple[list[str], str, str]]:
    """Parses a source file and yields (path, anchor, positive) of the module, its public classes and functions.

    Args:
        source: The file as it is; one that does not parse yields nothing.
    """
    if b'"""' not in source and b"'''" not in source:
        return
    try:
        with warnings.catch_warnings():  # invalid escape sequences in other people's code
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # what ast.parse raises for broken or huge sources
        return
    found: list[tuple[list[str], _Documented]] = [([], tree)]
    for path, node in found:  # grows while it is read
        docstring = ast.get_docstring(node, clean=False)
        if docstring and (pair := docstring_pair(docstring)):
            yield path, *pair
        for child in node.body if isinstance(node, ast.Module | ast.ClassDef) else []:
            if isinstance(child, _Definition) and not child.name.startswith("_"):
                found.append(([*path, child.name], child))


def docstring_pair(docstring: str) -> tuple[str, str] | None:
    """Splits a docstring into its first sentence (anchor) and all that follows, cleaned (positive).

    Args:
        docstring: As in the source, indented or not.

    Returns:
        Both texts, each on one line; None where either is too short, too long, boilerplate or no prose, or where they
        have no word in common: such a rest speaks of something that only the code around it names.
    """
    if len(docstring.split(None, 15)) < 16:
        return None
    lines = inspect.cleandoc(_UNPRINTABLE.sub(" ", docstring[:_READ_CHARACTERS])).splitlines()
    head, rest = _split_head(lines)
    if _SIGNATURE.match(" ".join(head)):  # some docstrings open with the call itself
        head, rest = _split_head(rest)
    anchor, more = _first_sentence(_inline(" ".join(line for line in head if not _UNDERLINE.match(line))))
    if not _good_anchor(anchor):
        return None
    positive = _cut(f"{more} {clean(rest)}".strip())
    return (anchor, positive) if _good_positive(positive) and _stems(anchor) & _stems(positive) else None


def clean(lines: list[str]) -> str:
    """Folds the lines of a docstring's body into one line of plain text.

    Args:
        lines: Dedented lines.
    """
    kept: list[str] = []
    in_example = False  # from a doctest's prompt to the next blank line
    dropped: tuple[int, bool] | None = None  # what is being dropped: its indent, and whether it is a section
    for raw, following in zip_longest(lines, lines[1:], fillvalue=""):
        line, indent = raw.strip(), len(raw) - len(raw.lstrip())
        if not line:
            in_example = False
            continue
        underlined = bool(_UNDERLINE.match(following.strip())) and not _UNDERLINE.match(line)
        title = _TITLE.match(line)
        if dropped:
            ends = underlined or (title and indent <= dropped[0]) if dropped[1] else indent <= dropped[0]
            if not ends:
                continue
            dropped = None
        if title and (underlined or title[2]) and title[1].lower() in _DROPPED_SECTIONS:
            dropped = (indent, True)
        elif directive := _DIRECTIVE.match(line):
            kind, argument = directive.groups()
            if kind in _DROPPED_DIRECTIVES:
                dropped = (indent, False)
            elif kind not in _SILENT_DIRECTIVES:
                kept.append(f"{kind.capitalize()}: {argument}")
            elif kind == "math":
                kept.append(argument)
        elif line.startswith(">>>") or (in_example and line.startswith("...")):
            in_example = True
            kept.append(line[3:].strip())
        elif (
            in_example or line.startswith(".. ") or _UNDERLINE.match(line) or _FENCE.match(line) or not _has_text(line)
        ):
            continue
        elif field := _FIELD.match(line):
            kept.append(_spoken(*field.groups(default="")))
        else:
            line = _LIST_ITEM.sub("", line)
            kept.append(f"{line.rstrip(':')}:" if underlined or title else line)
    return _inline(" ".join(kept))


def _split_head(lines: list[str]) -> tuple[list[str], list[str]]:
    """The first paragraph, which also ends where a section, a field, a list or an example begins, and the rest."""
    lines = [line.rstrip() for line in lines]
    start = next((i for i, line in enumerate(lines) if line and not _UNDERLINE.match(line)), len(lines))
    for i in range(start, len(lines)):
        line = lines[i].strip()
        underlined = i > start and i + 1 < len(lines) and _UNDERLINE.match(lines[i + 1].strip())
        opens = _TITLE.match(line) or _FIELD.match(line) or _LIST_ITEM.match(line) or line.startswith((">>>", ".. "))
        if not line or opens or (underlined and not _UNDERLINE.match(line)):
            return lines[start:i], lines[i:]
    return lines[start:], []


def _first_sentence(text: str) -> tuple[str, str]:
    for end in _SENTENCE_END.finditer(text):
        if not _ABBREVIATION.search(text[: end.end()].rstrip()):
            return text[: end.end()].strip(), text[end.end() :].strip()
    return text, ""


def _spoken(kind: str, subject: str, text: str) -> str:
    """A reStructuredText field as words: ":param int size: rows" -> "size: rows"; fields that only give a type go."""
    if kind in _NAMED_FIELDS:
        return f"{subject.split()[-1]}: {text}" if subject.strip() else text
    return f"{kind.capitalize()} {subject}".strip() + f": {text}" if kind in _SPOKEN_FIELDS else ""


def _inline(text: str) -> str:
    for sign, pattern, replacement in _INLINE:
        if sign in text:
            text = pattern.sub(replacement, text)
    return " ".join(text.split())


def _letters(text: str) -> float:
    """The share of ASCII letters among the characters other than spaces."""
    solid = text.replace(" ", "")
    return 1 - len(solid.translate(_LETTERS)) / max(1, len(solid))


def _has_text(line: str) -> bool:
    """Not the rule of a table, a row of numbers or a drawing."""
    return len(line) < 4 or _letters(line.replace("`", "")) >= 0.3


def _cut(text: str) -> str:
    return text if len(text) <= POSITIVE_CHARACTERS else text[:POSITIVE_CHARACTERS].rsplit(" ", 1)[0]


def _good_anchor(text: str) -> bool:
    fewest, most = ANCHOR_WORDS
    if not (fewest <= len(text.split()) <= most and text[0].isalnum() and _letters(text) >= 0.75):
        return False
    return not (_BOILERPLATE.search(text) or _ARGUMENT.match(text))


def _good_positive(text: str) -> bool:
    """English prose or commented code: neither bare formulas nor numbers."""
    is_stub = text.lower().startswith("deprecated")
    return len(_WORD.findall(text)) >= POSITIVE_WORDS and _letters(text) >= 0.6 and not is_stub


def _stems(text: str) -> set[str]:
    """The first letters of the words that say something; "_" separates words."""
    return set(_STEM.findall(text.lower())) - _EMPTY_STEMS


def _roots(package: str, search_path: Sequence[str] | None) -> list[tuple[str, Path]]:
    """The modules and folders at a package's top, found without importing it; none if it is not there."""
    if package == STDLIB:
        stdlib = Path(sysconfig.get_path("stdlib"))
        names = [n for n in sorted(sys.stdlib_module_names) if not n.startswith("_") and n not in _EXCLUDED_STDLIB]
        return [(name, path) for name in names for path in (stdlib / name, stdlib / f"{name}.py") if path.exists()]
    spec = PathFinder.find_spec(package, search_path)
    if spec is None or spec.origin is None:  # a folder without __init__.py has no origin
        return []
    return [(package, Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin))]
