"""`python -m lightning_embed export`: a checkpoint's student as a folder that other programs read."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_embed.errors import UserError
from lightning_embed.tools import ToolParser, run_tool

if TYPE_CHECKING:
    from lightning_embed.encoder import TextEncoder
    from lightning_embed.heads import Projection

TEXTS = 200
"""Texts that an export is compared on."""


def parser() -> ToolParser:
    """The command's arguments, which are those of `export`."""
    made = ToolParser(
        prog="python -m lightning_embed export",
        description="Writes a checkpoint's student as a sentence-transformers folder, and proves that it gives the same vectors.",
    )
    made.add_argument("--config", action="config", help="settings as YAML")
    made.add_argument(
        "checkpoint", type=str, help="a .ckpt of a run, a file or a sharded folder, or the folder of a model"
    )
    made.add_argument("out", type=str, help="folder to write")
    made.add_function_arguments(export, skip={"checkpoint", "out"})
    return made


def run(arguments: list[str]) -> None:
    """Runs the command.

    Args:
        arguments: What follows its name.
    """
    run_tool(parser(), export, arguments, "nothing was left behind")


def export(
    checkpoint: str,
    out: str,
    dim: int | None = None,
    dense: bool = False,
    onnx: bool = False,
    texts: str | None = None,
    overwrite: bool = False,
    config_of_checkpoint: str | None = None,
) -> float:
    """Exports, loads the export in a new process, compares, and only then puts it in place; returns the least cosine.

    Args:
        checkpoint: A .ckpt of a run, or the folder of a model.
        out: The folder.
        dim: Entries kept of each vector (truncate_dim); None: the student's.
        dense: Whether to add the run's projection as a Dense module, for vectors in the teacher's space.
        onnx: Whether to write onnx/model.onnx and onnx/model_int8.onnx too.
        texts: Texts to compare on: one a line, or JSON lines with text columns; None: docstrings of Python's standard library.
        overwrite: Whether a model that is there already is replaced.
        config_of_checkpoint: The run's config.yaml; None: found beside the checkpoint.

    Raises:
        UserError: Something is missing, or the export differs; nothing is left behind.
    """
    from lightning_embed.export import as_exported, export_encoder, verify_folder
    from lightning_embed.model_card import model_card

    folder = Path(out).expanduser()
    _check_target(folder, overwrite)
    if onnx:
        from lightning_embed.onnx_export import export_onnx, require_onnx, verify_onnx

        require_onnx()
        if dense:
            raise UserError("onnx: a graph with the Dense module is not supported; export twice")
    compared = read_texts(Path(texts)) if texts else standard_texts()
    encoder, config, run_folder, source = _student(checkpoint, config_of_checkpoint)
    encoder = as_exported(encoder)
    if dim is not None and not 1 <= dim <= encoder.dim:
        raise UserError(f"dim: the student has {encoder.dim} dims, so give 1 to {encoder.dim}, got {dim}")
    encoder.dim = dim or encoder.dim
    projection = _projection(source, encoder) if dense else None
    expected = {role: _expected(encoder, projection, compared, role) for role in ("query", "document")}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as scratch:
            made = Path(scratch) / "model"
            export_encoder(encoder, made, projection)
            least = _named(lambda: verify_folder(made, compared, expected), made, folder)
            facts = [
                f"Loaded by sentence-transformers in a new process, it gave the vectors of the checkpoint on {len(compared)} "
                f"texts as queries and as documents: least cosine {least:.6f}."
            ]
            if onnx:
                export_onnx(encoder, made)
                for graph, cosine in verify_onnx(encoder, made, compared, expected).items():
                    facts.append(f"`{graph}`, run by onnxruntime in a new process: least cosine {cosine:.6f}.")
            (made / "README.md").write_text(
                model_card(encoder, folder.name, config, run_folder, facts), encoding="utf-8"
            )
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(made, folder)
    except OSError as error:
        raise UserError(f"{folder}: the model could not be written there: {error.strerror or error}") from None
    print(f"wrote {folder}")
    for fact in facts:
        print(fact.replace("`", ""))
    return least


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
        from lightning_embed.encoder import TextEncoder

        return TextEncoder(str(path)).eval(), {}, None, None
    from lightning_embed.checkpoint import config_of, is_checkpoint, load_student, read_config

    if not is_checkpoint(path):
        raise UserError(f"{path}: there is no such checkpoint, nor a model's folder with a config.json")
    settings = Path(config_of_checkpoint) if config_of_checkpoint else config_of(path)
    home = path.resolve().parent
    run_folder = home.parent if home.name == "checkpoints" else home
    return load_student(path, settings), read_config(settings), run_folder, path


def _projection(source: Path | None, encoder: TextEncoder) -> Projection:
    from lightning_embed.checkpoint import read_checkpoint
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


def standard_texts() -> list[str]:
    """Docstrings of Python's standard library: real texts that every machine has, short ones and long."""
    import argparse
    import collections
    import datetime
    import inspect
    import logging
    import statistics
    import subprocess
    import textwrap
    import urllib.parse

    modules = (
        argparse,
        collections,
        datetime,
        json,
        logging,
        shutil,
        statistics,
        subprocess,
        tempfile,
        textwrap,
        urllib.parse,
    )
    found: dict[str, None] = {}
    for module in modules:
        for _, value in sorted(vars(module).items()):
            text = (inspect.getdoc(value) or "").strip() if inspect.isclass(value) or inspect.isroutine(value) else ""
            if len(text) > 20:
                found[text] = None
    return list(found)[:TEXTS]


def read_texts(path: Path) -> list[str]:
    """The first texts of a file.

    Args:
        path: One text a line, or JSON lines, of which every string counts.

    Raises:
        UserError: It cannot be read or has none.
    """
    found: list[str] = []
    number = 0
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                number += 1
                if len(found) >= TEXTS:
                    break
                if path.suffix == ".jsonl":
                    found += [value for value in json.loads(line).values() if isinstance(value, str) and value.strip()]
                elif line.strip():
                    found.append(line.strip())
    except OSError as error:
        raise UserError(f"{path}: the texts cannot be read ({error.strerror})") from None
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path}, line {number}: expected a text or a JSON object ({error})") from None
    if not found:
        raise UserError(f"{path}: no texts found in it")
    return found[:TEXTS]
