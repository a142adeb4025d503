"""The embedded default data: what the Python packages installed beside this one say about themselves.

A docstring opens with one sentence on what a thing does, and then explains it: a (query, document) pair
that somebody wrote with care. The files are parsed, never imported, and no text is shipped with this package:

    files -> docstring_pairs -> without_boilerplate -> without_near_duplicates -> balanced -> split_pairs
          -> without_leaks -> three Parquet files

Every choice (which of two near-duplicates stays, which pairs are kept, which module is in which split) is made by the
hash of a text or of a module's name, so the same versions of the same packages give the same rows in the same order
on every machine.
"""

import gc
import importlib.metadata
import json
import math
import platform
import re
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from lightning_embed.datamodules.docstrings.text import STDLIB, public_name, read, source_files, source_pairs
from lightning_embed.errors import UserError
from lightning_embed.utils.atomic import whole_folder
from lightning_embed.utils.folders import user_cache

Row = dict[str, str]
"""`anchor`, `positive`, `name` (dotted, for display), `module` (the file's dotted path) and `package`."""

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
    folder = (Path(cache_dir).expanduser() if cache_dir else user_cache()) / f"docstrings-{key}"
    if _is_complete(folder):
        return folder
    print(f"reading docstrings of {len(versions)} packages, once ...", file=sys.stderr, flush=True)
    rows = without_near_duplicates(without_boilerplate(docstring_pairs(list(versions), search_path)))
    splits = without_leaks(split_pairs(balanced(rows, max_pairs)))
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
            for module, file in source_files(package, search_path):
                for path, anchor, positive in source_pairs(read(file)):
                    if path or public_name(module) == module:  # what a private module says of itself has no public name
                        where = {"name": ".".join([public_name(module), *path]), "module": module, "package": package}
                        rows.append({"anchor": anchor, "positive": positive, **where})
    finally:
        if collecting:
            gc.enable()
    return sorted(rows, key=lambda row: (_digest(f"{row['anchor']}\n{row['positive']}"), row["module"], row["name"]))


def without_boilerplate(rows: Sequence[Row], most_partners: int = 2) -> list[Row]:
    """Drops the rows of a text that is paired with many others: templates and phrases that distinguish nothing.

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


def without_leaks(splits: dict[str, list[Row]], most_shared: float = 0.5, width: int = 5) -> dict[str, list[Row]]:
    """Drops the training rows with a text that is partly in a held-out text, or the other way round.

    Stricter than the Jaccard index of `without_near_duplicates`, which a short text within a long one escapes: here
    |A ∩ B| / min(|A|, |B|) stays below a limit. The validation rows are held against the test in the same way.

    Args:
        splits: Rows by split; their order is kept.
        most_shared: The limit, above 0 to 1.
        width: Words of a shingle, at least 1; a shorter text is one shingle.
    """
    word_ids: dict[str, int] = {}
    clean: dict[str, list[Row]] = {}
    held_out: list[set[int]] = []
    index: dict[int, list[int]] = defaultdict(list)  # shingle -> positions in held_out
    for split in ("test", "validation", "train"):
        clean[split], texts = [], []
        for row in splits[split]:
            own = [_shingles(row[column], width, word_ids) for column in ("anchor", "positive")]
            shared = [Counter(position for shingle in text for position in index.get(shingle, ())) for text in own]
            if all(
                count < most_shared * min(len(text), len(held_out[position]))
                for text, counts in zip(own, shared, strict=True)
                for position, count in counts.items()
            ):
                clean[split].append(row)
                texts += own
        for text in texts:
            for shingle in text:
                index[shingle].append(len(held_out))
            held_out.append(text)
    return {split: clean[split] for split in SPLITS}


def _versions(packages: Sequence[str] | None, search_path: Sequence[str] | None) -> dict[str, str]:
    """Name -> version of the packages to read; one without metadata goes by a hash of its files."""
    wanted = sorted(set(PACKAGES if packages is None else packages))
    found = {name: "" for name in wanted if any(source_files(name, search_path))}
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
            found[name] = _digest("\n".join(f"{m} {_digest(read(f))}" for m, f in source_files(name, search_path)))
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
    """Writes the folder whole; of two processes the first one wins."""
    from pyarrow import Table, parquet

    try:
        with whole_folder(folder, replace=False) as written:
            for split, rows in splits.items():
                parquet.write_table(Table.from_pylist(rows), written / f"{split}.parquet")
            if not _is_complete(folder):
                shutil.rmtree(folder, ignore_errors=True)  # somebody deleted a part of it
    except OSError as error:
        if not _is_complete(folder):
            raise UserError(f"cannot write to the cache folder {folder.parent} ({error}): set cache_dir") from error
