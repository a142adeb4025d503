"""Publishes an exported folder on the Hugging Face hub, with a card that the hub can index."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_embed.errors import UserError, first_line, in_one_line
from lightning_embed.utils.notes import note

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"
GIT = ".gitattributes"
"""The hub's own file: which files are stored apart."""


@dataclass(frozen=True)
class Upload:
    """What goes to the hub."""

    repo: str
    """owner/name."""
    files: list[Path]
    """Relative to the folder, without the card."""
    card: str
    """Content of README.md there."""
    sizes: list[int]
    """Bytes of each file."""


def push_folder(
    folder: str,
    repo: str,
    public: bool = False,
    overwrite: bool = False,
    results: str | None = None,
    dry_run: bool = False,
) -> None:
    """Uploads an exported folder to the Hugging Face hub, in one commit, and prints what goes.

    Args:
        folder: What `export` wrote: a model or an adapter.
        repo: owner/name there; it is made if there is none.
        public: Whether a new repository is public; if not, it is private.
        overwrite: Whether the files of a repository that holds some already are replaced; its history keeps them.
        results: Folder of a report of `evaluate` with this model, whose scores go into the card's metadata, where the hub shows them.
        dry_run: Whether to print what would go and upload nothing.

    Raises:
        UserError: The folder, the name or the report is wrong, or the hub refuses.
    """
    from huggingface_hub import HfApi

    upload = plan_upload(Path(folder).expanduser(), repo, results)
    api = HfApi()
    if not dry_run:
        with _in_one_line(repo):
            api.whoami()
            held = _held(api, repo)
        if held and not overwrite:
            raise UserError(
                f"{repo}: holds {len(held)} files already, such as {held[0]}; give another name, or --overwrite true to replace them all"
            )
    _print(upload, public)
    if "\nlicense:" not in upload.card:
        note(f"the card has no licence: set `license:` at the top of {Path(folder) / CARD}")
    if dry_run:
        print(f"nothing was uploaded (dry_run); without it this would go to {repo}")
        return
    with _in_one_line(repo):
        url = api.create_repo(repo, private=not public, exist_ok=True)
        _commit(api, Path(folder).expanduser(), upload, held)
    print(f"pushed to {url}")


def plan_upload(folder: Path, repo: str, results: str | None = None) -> Upload:
    """What of a folder goes to the hub.

    Args:
        folder: A model's or an adapter's.
        repo: owner/name.
        results: Folder of a report of `evaluate`.

    Raises:
        UserError: It is no such folder, names what only this machine has, or the report is of another model.
    """
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repo):
        raise UserError(f"expected owner/name of a repository on the hub, got {repo!r}")
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; write one with `export`")
    if not any((folder / name).is_file() for name in ("modules.json", "adapter_config.json")):
        raise UserError(f"{folder}: expected a model's folder, with modules.json or adapter_config.json")
    if not (folder / CARD).is_file():
        raise UserError(f"{folder}: has no {CARD}, which says what the model is; write the folder with `export`")
    _check_bases(folder)
    files = sorted(
        f.relative_to(folder)
        for f in folder.rglob("*")
        if f.is_file() and not any(part.startswith(".") for part in f.relative_to(folder).parts)
    )
    files.remove(Path(CARD))
    card = published_card((folder / CARD).read_text(encoding="utf-8"), folder, repo, results)
    return Upload(repo, files, card, [(folder / f).stat().st_size for f in files])


def published_card(card: str, folder: Path, repo: str, results: str | None) -> str:
    """The card with the repository's name in its code, and with scores as `model-index` in its metadata.

    Args:
        card: The folder's.
        folder: The folder.
        repo: owner/name.
        results: Folder of a report of `evaluate`; None: no scores.
    """
    named = re.sub(r'(SentenceTransformer\()"[^"]*"(.*?#) this folder\'s path; ', rf'\1"{repo}"\2 ', card)
    if results is None:
        return named
    import yaml

    index = yaml.safe_dump({"model-index": model_index(folder, repo, results)}, sort_keys=False)
    start, front, rest = _front_matter(named, folder)
    return f"{start}{front}{index}{rest}"


def model_index(folder: Path, repo: str, results: str) -> list[dict[str, Any]]:
    """A report's scores of a model, full float32 vectors, in the form of the hub's `model-index`.

    Args:
        folder: The model's, by whose contents it is found in the report.
        repo: owner/name.
        results: Folder of a report of `evaluate`.

    Raises:
        UserError: There is no report, or the model is not in it.
    """
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    from lightning_embed.evaluation.reports.names import metric_title

    tasks, scores = _scores(folder, Path(results).expanduser())
    found = [
        EvalResult(
            task_type=task["kind"],
            dataset_type=_data_set(task["name"]),
            dataset_name=task["name"],
            dataset_revision=task["revision"],
            metric_type=task["metric"],
            metric_name=metric_title(task["metric"]),
            metric_value=round(100 * scores[task["name"]], 2),
        )
        for task in tasks
    ]
    return eval_results_to_model_index(repo.partition("/")[2], found)


def _scores(folder: Path, report: Path) -> tuple[list[dict[str, str]], dict[str, float]]:
    """A report's tasks, and task -> score of full float32 vectors of the model in a folder."""
    from lightning_embed.utils.hashing import contents_hash

    try:
        found = json.loads((report / "report.json").read_text(encoding="utf-8"))
        scores = {
            model["fingerprint"]: row["scores"]
            for model in found["models"]
            for row in model["grid"]
            if (row["dim"], row["precision"]) == (model["dim"], "float32")
        }
        models, tasks = [model["source"] for model in found["models"]], found["tasks"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{report}: expected the folder of a report of `evaluate` ({first_line(error)})") from None
    contents = contents_hash([folder])
    if contents not in scores:
        raise UserError(
            f"{report}: has no scores, in float32 and full size, of {folder} as it is now, only of {', '.join(models)}; run "
            f"`evaluate {folder} --tasks ...`"
        )
    return tasks, scores[contents]


def _data_set(task: str) -> str:
    """The hub's name of a stock task's data; of one's own, the task's name."""
    import mteb

    try:
        return str(mteb.get_task(task).metadata.dataset["path"])
    except KeyError:
        return task


def _front_matter(card: str, folder: Path) -> tuple[str, str, str]:
    """The opening line, the YAML, and all from its closing line on."""
    found = re.match(r"(---\n)(.*?)(^---\n.*)", card, re.DOTALL | re.MULTILINE)
    if found is None:
        raise UserError(f"{folder / CARD}: expected metadata between two lines of --- at the top")
    return found[1], found[2], found[3]


def _check_bases(folder: Path) -> None:
    """Raises `UserError` if an adapter's base is a folder that nobody else has."""
    for file in sorted(folder.rglob("adapter_config.json")):
        base = str(json.loads(file.read_text(encoding="utf-8")).get("base_model_name_or_path", ""))
        if base.startswith(("/", "~", "pip:")) or Path(base).is_absolute():
            raise UserError(
                f"{file}: its base is {base}, which nobody else can load; export it again with --base owner/name, the base's id on the hub"
            )


def _held(api: HfApi, repo: str) -> list[str]:
    """Files of the repository; none where there is no repository."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return [file for file in api.list_repo_files(repo) if file != GIT]
    except RepositoryNotFoundError:
        return []


def _commit(api: HfApi, folder: Path, upload: Upload, held: list[str]) -> None:
    """All files in one commit, so that no one reads a half of them."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    new = {CARD, *(file.as_posix() for file in upload.files)}
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationAdd(CARD, upload.card.encode()),
        *(CommitOperationAdd(file.as_posix(), folder / file) for file in upload.files),
        *(CommitOperationDelete(file) for file in held if file not in new),
    ]
    api.create_commit(upload.repo, operations, commit_message="Upload model")


@contextmanager
def _in_one_line(repo: str) -> Iterator[None]:
    """Turns what the hub refuses into one line."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    try:
        yield
    except LocalTokenNotFoundError:
        raise UserError("you are not logged in to the hub: run `hf auth login`, or set HF_TOKEN") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        why = {401: "the token is not valid", 403: "the token may not write there"}.get(status, first_line(error))
        raise UserError(f"{repo}: the hub refused ({status}): {why}") from None
    except ValueError as error:  # a name or a card that the hub does not take
        raise UserError(f"{repo}: {in_one_line(str(error))}") from None
    except Exception as error:  # of the HTTP client, which is another one from version to version
        raise UserError(f"{repo}: the hub cannot be reached ({first_line(error)})") from None


def _print(upload: Upload, public: bool) -> None:
    """A line for each file."""
    print(f"{upload.repo} ({'public' if public else 'private'}, if it is new):")
    for name, size in [(CARD, len(upload.card.encode())), *zip(map(str, upload.files), upload.sizes, strict=True)]:
        print(f"  {size / 1e6:10.3f} MB  {name}")
    print(f"  {(sum(upload.sizes) + len(upload.card.encode())) / 1e6:10.3f} MB  in all")
