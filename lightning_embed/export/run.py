"""Exports a checkpoint's student as a folder that other programs read, and proves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_embed.encoders.pretrained import folder_bytes
from lightning_embed.errors import UserError
from lightning_embed.export.texts import read_texts, standard_texts
from lightning_embed.utils.atomic import whole_folder

if TYPE_CHECKING:
    from lightning_embed.encoders.text_encoder import TextEncoder
    from lightning_embed.heads import Projection


def export_model(
    checkpoint: list[str],
    out: str,
    dim: int | None = None,
    adapter: bool = False,
    dense: bool = False,
    onnx: bool = False,
    texts: str | None = None,
    overwrite: bool = False,
    config_of_checkpoint: str | None = None,
) -> float:
    """Exports, loads the export in a new process, compares, and only then puts it in place; returns the least cosine.

    Args:
        checkpoint: A .ckpt of a run, or the folder of a model; or several `TASK=CHECKPOINT` of adapters on one base, which is then stored
            once, with the adapters beside it for the reader to pick from.
        out: The folder.
        dim: Entries kept of each vector (truncate_dim); None: the student's.
        adapter: Whether to write the adapter alone, as a peft folder; if not, it is merged into its base.
        dense: Whether to add the run's projection as a Dense module, for vectors in the teacher's space.
        onnx: Whether to write onnx/model.onnx and onnx/model_int8.onnx too.
        texts: Texts to compare on: one a line, or JSON lines with text columns; None: docstrings of Python's standard library.
        overwrite: Whether a model that is there already is replaced.
        config_of_checkpoint: A run's config.yaml, in place of the checkpoint's own settings.

    Raises:
        UserError: Something is missing, or the export differs; nothing is left behind.
    """
    from lightning_embed.encoders.copies import as_exported, merged
    from lightning_embed.export.adapters import export_adapter, load_tasks
    from lightning_embed.export.folder import export_encoder, verify_folder
    from lightning_embed.export.model_card import model_card

    folder = Path(out).expanduser()
    _check_target(folder, overwrite)
    if onnx:
        from lightning_embed.export.onnx import export_onnx, require_onnx, verify_onnx

        require_onnx()
        if dense:
            raise UserError("onnx: a graph with the Dense module is not supported; export twice")
    compared = read_texts(Path(texts)) if texts else standard_texts()
    if len(checkpoint) > 1:
        if dense or onnx or adapter:
            raise UserError("several checkpoints: dense, onnx and adapter are for one; leave them out")
        tasks = load_tasks(checkpoint, Path(config_of_checkpoint) if config_of_checkpoint else None)
        tasks = {task: as_exported(encoder) for task, encoder in tasks.items()}
        for encoder in tasks.values():
            encoder.dim = _cut(dim, encoder)
        with _in_place(folder) as made:
            least, facts = _export_tasks(tasks, made, folder, compared)
    else:
        encoder, config, run_folder, source = _student(checkpoint[0], config_of_checkpoint)
        encoder = encoder if adapter else as_exported(encoder)  # a peft folder has no θ of its own
        encoder.dim = _cut(dim, encoder)
        if adapter and (dense or onnx):
            raise UserError("adapter: a peft folder holds the adapter alone; leave dense and onnx out")
        projection = _projection(source, encoder) if dense else None
        expected = {role: _expected(encoder, projection, compared, role) for role in ("query", "document")}
        with _in_place(folder) as made:
            if adapter:
                export_adapter(encoder, made)
            else:
                encoder = merged(encoder)
                export_encoder(encoder, made, projection)
            least = _named(lambda: verify_folder(made, compared, expected), made, folder)
            facts = [_proved("it gave the vectors of the checkpoint", compared, least)]
            if adapter:
                facts.append(
                    f"The adapter alone, {folder_bytes(made) / 1e6:.1f} MB; its base is read from {encoder.model}."
                )
            if onnx:
                export_onnx(encoder, made)
                for graph, cosine in verify_onnx(encoder, made, compared, expected).items():
                    facts.append(f"`{graph}`, run by onnxruntime in a new process: least cosine {cosine:.6f}.")
            card = model_card(encoder, folder.name, config, run_folder, facts)
            (made / "README.md").write_text(card, encoding="utf-8")
    print(f"wrote {folder}")
    for fact in facts:
        print(fact.replace("`", ""))
    return least


def _cut(dim: int | None, encoder: TextEncoder) -> int:
    if dim is not None and not 1 <= dim <= encoder.dim:
        raise UserError(f"dim: the student has {encoder.dim} dims, so give 1 to {encoder.dim}, got {dim}")
    return dim or encoder.dim


@contextmanager
def _in_place(folder: Path) -> Iterator[Path]:
    """Where to write a folder that is put in its place only if all goes well."""
    try:
        with whole_folder(folder) as made:
            yield made
    except OSError as error:
        raise UserError(f"{folder}: the model could not be written there: {error.strerror or error}") from None


def _export_tasks(
    tasks: dict[str, TextEncoder], made: Path, folder: Path, compared: list[str]
) -> tuple[float, list[str]]:
    """Writes several adapters beside their base, and proves each."""
    from lightning_embed.export.adapters import export_tasks, usage_of_tasks, verify_tasks
    from lightning_embed.export.model_card import model_card

    expected = {
        f"{task} {role}": encoder.encode(compared, role).numpy()
        for task, encoder in tasks.items()
        for role in ("query", "document")
    }
    export_tasks(tasks, made)
    least = _named(lambda: verify_tasks(made, compared, expected), made, folder)
    facts = [_proved(f"each of the adapters {', '.join(tasks)} gave the vectors of its checkpoint", compared, least)]
    card = model_card(
        next(iter(tasks.values())), folder.name, {}, None, facts, usage_of_tasks(folder.name, list(tasks))
    )
    (made / "README.md").write_text(card, encoding="utf-8")
    return least, facts


def _proved(what: str, compared: list[str], least: float) -> str:
    return (
        f"Loaded by sentence-transformers in a new process, {what} on {len(compared)} texts as queries and as documents: "
        f"least cosine {least:.6f}."
    )


def _named(check: Any, made: Path, folder: Path) -> float:
    """Calls a check whose complaint is to name the folder that the user knows."""
    try:
        return float(check())
    except UserError as error:
        raise UserError(str(error).replace(str(made), str(folder)) + "; nothing was left behind") from None


def _check_target(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / "modules.json").is_file():
            raise UserError(f"{folder}: holds something else than a model; give another folder")
        if not overwrite:
            raise UserError(f"{folder}: holds a model already; give another folder, or --overwrite true")


def _student(
    checkpoint: str, config_of_checkpoint: str | None
) -> tuple[TextEncoder, dict[str, Any], Path | None, Path | None]:
    """The encoder, its run's configuration and folder, and the checkpoint's file; the last three where there are any."""
    path = Path(checkpoint).expanduser()
    if path.is_dir() and (path / "config.json").is_file():
        from lightning_embed.encoders.text_encoder import TextEncoder

        return TextEncoder(str(path)).eval(), {}, None, None
    from lightning_embed.checkpoints.student import is_checkpoint, load_student, run_settings

    if not is_checkpoint(path):
        raise UserError(f"{path}: there is no such checkpoint, nor a model's folder with a config.json")
    student = load_student(path, Path(config_of_checkpoint) if config_of_checkpoint else None)
    home = path.resolve().parent
    run_folder = home.parent if home.name == "checkpoints" else home
    return student, run_settings(path, config_of_checkpoint), run_folder, path


def _projection(source: Path | None, encoder: TextEncoder) -> Projection:
    from lightning_embed.checkpoints.student import read_checkpoint
    from lightning_embed.heads import Projection

    state = read_checkpoint(source)["state_dict"] if source else {}
    if "projection.weight" not in state:
        raise UserError("dense: the checkpoint has no projection; leave --dense out")
    out_dim, in_dim = state["projection.weight"].shape
    if in_dim != encoder.dim or encoder.dim != int(encoder.config.hidden_size):
        raise UserError(
            f"dense: the projection maps {in_dim} entries and the exported vectors have {encoder.dim} "
            f"of {encoder.config.hidden_size}; it fits only a whole student whose side is projected"
        )
    made = Projection(in_dim, out_dim)
    made.load_state_dict({name: state[f"projection.{name}"] for name in ("weight", "bias")})
    return made.requires_grad_(False)


def _expected(encoder: TextEncoder, projection: Projection | None, texts: list[str], role: str) -> Any:
    from torch.nn.functional import linear, normalize

    vectors = encoder.encode(texts, role)
    if projection is not None:
        vectors = normalize(linear(vectors, projection.weight, projection.bias), dim=-1)
    return vectors.numpy()
