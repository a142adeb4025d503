"""The embedded default data: what the Python packages installed beside this one say about themselves.

A docstring opens with one sentence that says what a thing does, and goes on to explain it: a (query, document) pair
that somebody wrote with care. The files are parsed, never imported, and no text is shipped with this package:

    files -> docstring_pairs -> without_boilerplate -> without_near_duplicates -> balanced -> split_pairs -> Parquet

Every choice (which of two near-duplicates stays, which pairs are kept, which module is in which split) is made by the
hash of a text or of a module's name, so the same versions of the same packages give the same rows in the same order
on every machine.
"""

import gc
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from importlib.machinery import PathFinder
from pathlib import Path

from lightning_embed.datamodules.docstring_text import source_pairs
from lightning_embed.errors import UserError

Row = dict[str, str]
"""`anchor`, `positive`, `name` (dotted, for display), `module` (the file's dotted path) and `package`."""

STDLIB = "python"
PACKAGES = (
    STDLIB, "PIL", "accelerate", "aiohttp", "anyio", "datasets", "fontTools", "fsspec", "huggingface_hub", "jinja2",
    "joblib", "jsonargparse", "lightning", "matplotlib", "mpmath", "mteb", "networkx", "numpy", "packaging", "pandas",
    "peft", "polars", "pyarrow", "pydantic", "requests", "rich", "scipy", "sentence_transformers", "sklearn", "sympy",
    "torch", "torchmetrics", "transformers", "urllib3",
)  # fmt: skip
"""Import names that are read by default where installed; `python` is the standard library."""
SPLITS = ("train", "validation", "test")

_FORMAT = 1  # raise it whenever this file or docstring_text.py gives other rows
_DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn"}
_EXCLUDED_FOLDERS = {"test", "tests", "testing", "_testing", "benchmarks", "_vendor", "vendor", "extern", "externals"}
_SOURCE = re.compile(r"(?!test_|conftest\.)[^\W\d]\w*(?<!_test)\.py")
_EXCLUDED_STDLIB = {"antigravity", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "this", "turtledemo"}
# Internals, other projects' code, old copies, hundreds of copies of one text.
_EXCLUDED_MODULES = ("numpy.distutils.", "pydantic.v1.", "scipy._lib.", "torch._", "transformers.models.")


def build(
    cache_dir: str | Path | None = None,
    packages: Sequence[str] | None = None,
    max_pairs: int = 20_000,
    search_path: Sequence[str] | None = None,
) -> Path:
    """Writes `train.parquet`, `validation.parquet` and `test.parquet`, or finds them written.

    The folder is named by a hash of the settings, of this code's format and of Python's and the packages' versions.

    Args:
        cache_dir: Where the folder is made; None: `lightning_embed` in `$XDG_CACHE_HOME`, else in `~/.cache`.
        packages: Import names; None: those of `PACKAGES` that are installed.
        max_pairs: Most pairs of all splits together.
        search_path: Folders where packages are looked for; None: `sys.path`.

    Returns:
        The folder; `datasets.load_dataset("parquet", data_dir=...)` reads it.

    Raises:
        UserError: A named package is not there, none is, too few pairs are left, or the cache cannot be written.
    """
    versions = _versions(packages, search_path)
    key = _digest(json.dumps([_FORMAT, platform.python_version(), max_pairs, versions]))
    root = Path(cache_dir) if cache_dir else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "lightning_embed"
    folder = root.expanduser() / f"docstrings-{key}"
    if _is_complete(folder):
        return folder
    print(f"reading docstrings of {len(versions)} packages, once ...", file=sys.stderr, flush=True)
    rows = without_near_duplicates(without_boilerplate(docstring_pairs(list(versions), search_path)))
    splits = split_pairs(balanced(rows, max_pairs))
    counts = ", ".join(f"{len(splits[split])} {split}" for split in SPLITS)
    if not all(splits.values()):
        raise UserError(f"too few docstrings in {', '.join(versions)} for three splits: {counts} pairs; add packages")
    _write(splits, folder)
    print(f"wrote {counts} pairs to {folder}", file=sys.stderr, flush=True)
    return folder


def docstring_pairs(packages: Sequence[str], search_path: Sequence[str] | None = None) -> list[Row]:
    """The pairs of all public classes, functions and modules, in the order of their hashes; duplicates are still in.

    Args:
        packages: Import names, `python` for the standard library.
        search_path: Folders where they are looked for; None: `sys.path`.
    """
    rows = []
    # A file's tree is many small objects without cycles: the collector would only cost half as much time again.
    collecting = gc.isenabled()
    gc.disable()
    try:
        for package in sorted(set(packages)):
            for module, file in _files(package, search_path):
                for path, anchor, positive in source_pairs(_read(file)):
                    if path or _public(module) == module:  # what a private module says of itself has no public name
                        where = {"name": ".".join([_public(module), *path]), "module": module, "package": package}
                        rows.append({"anchor": anchor, "positive": positive, **where})
    finally:
        if collecting:
            gc.enable()
    return sorted(rows, key=lambda row: (_digest(f"{row['anchor']}\n{row['positive']}"), row["module"], row["name"]))


def without_boilerplate(rows: Sequence[Row], most_partners: int = 2) -> list[Row]:
    """Drops the rows of a text that stands with many others: templates and phrases that tell nothing apart.

    Args:
        rows: Pairs.
        most_partners: A text with more distinct partners than this is boilerplate.
    """
    partners: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        partners[_plain(row["anchor"])].add(row["positive"])
        partners[_plain(row["positive"])].add(row["anchor"])
    common = {text for text, others in partners.items() if len(others) > most_partners}
    return [row for row in rows if _plain(row["anchor"]) not in common and _plain(row["positive"]) not in common]


def without_near_duplicates(rows: Sequence[Row], threshold: float = 0.5, width: int = 5) -> list[Row]:
    """Keeps a row if neither of its texts is a near-duplicate of a text of an earlier kept row.

    Two texts are near-duplicates if the Jaccard index |A ∩ B| / |A ∪ B| of their sets of `width`-word shingles reaches
    the threshold t. The search is exact: in any common order of all shingles, such sets share one of the first
    |A| - ⌈t|A|⌉ + 1 shingles of each, so that, with rare shingles first, only few pairs are ever compared
    (prefix filtering: Chaudhuri, Ganti, Kaushik, A primitive operator for similarity joins, 2006).

    Args:
        rows: Pairs, the preferred ones first.
        threshold: Above 0 to 1.
        width: Words of a shingle, at least 1; a shorter text is one shingle.
    """
    word_ids: dict[str, int] = {}
    shingles = [[_shingles(row[column], width, word_ids) for column in ("anchor", "positive")] for row in rows]
    frequency = Counter(shingle for texts in shingles for text in texts for shingle in text)
    kept: list[Row] = []
    index: dict[int, list[set[int]]] = defaultdict(list)  # shingle -> kept texts that have it in their prefix
    for row, texts in zip(rows, shingles, strict=True):
        prefixes = [_prefix(text, threshold, frequency) for text in texts]
        if not any(
            len(text & other) >= threshold * len(text | other)
            for text, prefix in zip(texts, prefixes, strict=True)
            for shingle in prefix
            for other in index.get(shingle, ())
        ):
            kept.append(row)
            for text, prefix in zip(texts, prefixes, strict=True):
                for shingle in prefix:
                    index[shingle].append(text)
    return kept


def balanced(rows: Sequence[Row], max_pairs: int = 20_000, max_share: float = 0.25) -> list[Row]:
    """Takes rows from the packages in turn until `max_pairs` are taken: small packages whole, large ones in part.

    Args:
        rows: Pairs; the first ones of each package are taken.
        max_pairs: Most rows.
        max_share: Most rows of one package, as a share of `max_pairs`; with few packages an equal share is allowed.
    """
    seen: Counter[str] = Counter()
    turns = []
    for position, row in enumerate(rows):
        turns.append((seen[row["package"]], position))
        seen[row["package"]] += 1
    most = max_pairs * max(max_share, 1 / max(1, len(seen)))
    taken = sorted(turn for turn in turns if turn[0] < most)[:max_pairs]
    return [rows[position] for position in sorted(position for _, position in taken)]


def split_pairs(rows: Sequence[Row], validation_share: float = 0.05, test_share: float = 0.1) -> dict[str, list[Row]]:
    """Deals whole modules, in the order of their hashes: to test while they fit in, then to validation, else to train.

    Args:
        rows: Pairs; their order is kept.
        validation_share: Most validation rows, as a share of all.
        test_share: Most test rows, as a share of all.
    """
    sizes = Counter(row["module"] for row in rows)
    room = {"test": test_share * len(rows), "validation": validation_share * len(rows), "train": math.inf}
    split_of = {}
    for module in sorted(sizes, key=lambda module: (_digest(module), module)):
        split_of[module] = next(split for split, left in room.items() if left >= sizes[module])
        room[split_of[module]] -= sizes[module]
    return {split: [row for row in rows if split_of[row["module"]] == split] for split in SPLITS}


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


def _files(package: str, search_path: Sequence[str] | None) -> Iterator[tuple[str, Path]]:
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


def _read(file: Path) -> bytes:
    """The file's bytes; none if it cannot be read."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _public(module: str) -> str:
    """What is defined in a private module is offered by its public parent: scipy.linalg._decomp -> scipy.linalg."""
    return re.sub(r"\._.*", "", module)


def _versions(packages: Sequence[str] | None, search_path: Sequence[str] | None) -> dict[str, str]:
    """Name -> version of the packages to read; one without metadata goes by a hash of its files."""
    wanted = sorted(set(PACKAGES if packages is None else packages))
    found = {name: "" for name in wanted if _roots(name, search_path)}
    missing = ", ".join(name for name in wanted if name not in found)
    if not found or (packages and missing):
        raise UserError(f"cannot find the source of {missing}: expected import names of installed packages")
    path = list(sys.path if search_path is None else search_path)
    for name in found:
        distributions = importlib.metadata.distributions(name=_DISTRIBUTIONS.get(name, name), path=path)
        if name == STDLIB:
            found[name] = platform.python_version()
        elif installed := next(iter(distributions), None):
            found[name] = installed.version
        else:
            found[name] = _digest("\n".join(f"{m} {_digest(_read(f))}" for m, f in _files(name, search_path)))
    return found


def _shingles(text: str, width: int, word_ids: dict[str, int]) -> set[int]:
    """Hashes of tuples of word numbers: unlike those of strings, the same in every process."""
    ids = [word_ids.setdefault(word, len(word_ids)) for word in _plain(text).split()]
    return set(map(hash, zip(*(ids[i:] for i in range(min(width, len(ids)))), strict=False)))


def _prefix(text: set[int], threshold: float, frequency: Counter[int]) -> list[int]:
    """The rarest shingles, one of which a near-duplicate must share; those of no other text are left out."""
    shared = [shingle for shingle in text if frequency[shingle] > 1]
    length = len(shared) - math.ceil(threshold * len(text) - 1e-9) + 1
    return sorted(shared, key=lambda shingle: (frequency[shingle], shingle))[: max(0, length)]


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _digest(data: str | bytes) -> str:
    return blake2b(data.encode() if isinstance(data, str) else data, digest_size=8).hexdigest()


def _is_complete(folder: Path) -> bool:
    return all((folder / f"{split}.parquet").is_file() for split in SPLITS)


def _write(splits: dict[str, list[Row]], folder: Path) -> None:
    """Writes into a temporary folder beside the target and renames it; of two processes the first one wins."""
    from pyarrow import Table, parquet

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".docstrings-", dir=folder.parent, ignore_cleanup_errors=True) as name:
            written = Path(name) / folder.name
            written.mkdir()
            for split, rows in splits.items():
                parquet.write_table(Table.from_pylist(rows), written / f"{split}.parquet")
            if not _is_complete(folder):
                shutil.rmtree(folder, ignore_errors=True)  # somebody deleted a part of it
            os.replace(written, folder)
    except OSError as error:
        if not _is_complete(folder):
            raise UserError(f"cannot write to the cache folder {folder.parent} ({error}): set cache_dir") from error
