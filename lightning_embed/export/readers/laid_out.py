"""What a sentence-transformers folder means, and the files in which it says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from lightning_embed.encoders.pretrained import FolderSettings, kind_of, read_body, read_json, read_settings
from lightning_embed.errors import UserError


@dataclass(frozen=True)
class LaidOut:
    """A folder as it is, read once."""

    path: Path
    """Where it is."""
    means: FolderSettings
    """What sentence-transformers makes of it."""
    config: dict[str, Any]
    """config.json; empty where there is none."""
    modules: list[dict[str, Any]]
    """modules.json."""
    pooling: dict[str, Any] | None
    """1_Pooling/config.json; None where there is none."""
    body: dict[str, Any] | None
    """sentence_bert_config.json, or its like of another family; None where there is none."""
    dense: list[tuple[str, dict[str, Any]]]
    """Folder and config.json of each Dense, in order."""
    tokenizer: bool
    """Whether there is a tokenizer.json."""

    @property
    def kinds(self) -> list[str]:
        """Short names of its modules, in order."""
        return [kind_of(module) for module in self.modules]

    @property
    def architecture(self) -> str:
        """transformers' name of its backbone's family."""
        return str(self.config.get("model_type") or ("static embeddings" if self.means.table else "unknown"))

    @property
    def model_class(self) -> str:
        """transformers' class of its backbone: the first of `architectures`, by which converters go."""
        return str((self.config.get("architectures") or [self.architecture])[0])

    @property
    def left_out(self) -> list[str]:
        """What a reader loses that applies no Dense: nothing where one that only cuts vectors can be had by cutting them."""
        return ["it leaves out the Dense layers"] if self.dense and self.cut is None else []

    @cached_property
    def cut(self) -> int | None:
        """To how many first entries its only Dense cuts the sentence's vector, as `--dim` exports it; None: no such Dense."""
        from safetensors.torch import load_file

        if self.kinds[1:] != ["Pooling", "Dense", "Normalize"]:
            return None
        weights = load_file(self.path / self.dense[0][0] / "model.safetensors")
        weight = weights["linear.weight"]
        rows = len(weight)
        cuts = bool(weight.eq(torch.eye(rows, weight.shape[1])).all()) and not any(
            bool(weights[name].any()) for name in weights if name != "linear.weight"
        )
        named = str(self.dense[0][1].get("activation_function", "Identity")).rpartition(".")[2]
        return rows if cuts and named == "Identity" else None

    @property
    def length(self) -> int | None:
        """Tokens after which sentence-transformers cuts a text; None: as many as the backbone has positions for."""
        return self.means.max_length


def read_folder(folder: Path) -> LaidOut:
    """Reads a folder.

    Args:
        folder: Of a sentence-transformers model.

    Raises:
        UserError: It is none, or one whose settings are not supported.
    """
    modules = read_json(folder / "modules.json", None)
    if not isinstance(modules, list):
        raise UserError(f"{folder}: expected the folder of a sentence-transformers model, with a modules.json")
    return LaidOut(
        path=folder,
        means=read_settings(folder),
        config=read_json(folder / "config.json", {}),
        modules=modules,
        pooling=read_json(folder / "1_Pooling/config.json", None),
        body=read_body(folder),
        dense=[
            (str(module["path"]), read_json(folder / module["path"] / "config.json", {}))
            for module in modules
            if kind_of(module) == "Dense"
        ],
        tokenizer=(folder / "tokenizer.json").is_file(),
    )


def dense_out_of_order(kinds: Sequence[str]) -> list[str]:
    """What a reader loses that applies each Dense after the pooling, one after the other, and normalises at the end.

    Args:
        kinds: Short names of a folder's modules, in order.
    """
    places = [place for place, kind in enumerate(kinds) if kind == "Dense"]
    if not places or "Pooling" not in kinds:
        return []
    pooling, found = list(kinds).index("Pooling"), []
    if places[0] < pooling:
        found.append("it applies the Dense before the pooling after it")
    if "Normalize" in kinds[pooling : places[-1]]:
        found.append("it leaves out the Normalize before a Dense")
    return found
