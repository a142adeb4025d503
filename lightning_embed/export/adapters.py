"""Adapters by themselves: peft folders, one alone or several beside the base that they share."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_embed.checkpoints.student import load_student
from lightning_embed.compat.peft import FILE_PREFIX, adapter_config
from lightning_embed.encoders.copies import merged, without_adapter
from lightning_embed.encoders.lora import ADAPTERS_FOLDER, NAME, is_adapters
from lightning_embed.encoders.pretrained import PIP
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.export.folder import export_encoder, run_new


def write_peft(encoder: TextEncoder, folder: Path, base: str) -> None:
    """Writes an adapter as peft does: adapter_config.json and adapter_model.safetensors.

    Args:
        encoder: An encoder with an adapter.
        folder: Where.
        base: The folder or Hugging Face id of the model that it belongs on.
    """
    from safetensors.torch import save_file

    backbone = encoder.backbone
    config = copy.copy(adapter_config(backbone, NAME))
    config.base_model_name_or_path, config.inference_mode = base, True
    config.target_modules = sorted(config.target_modules)
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    weights = {
        FILE_PREFIX + name.replace(f".{NAME}.", "."): value.detach().cpu().contiguous()
        for name, value in backbone.state_dict().items()
        if is_adapters(name)
    }
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def export_adapter(encoder: TextEncoder, folder: Path) -> None:
    """Writes an adapter without its base, which a reader finds by the name in adapter_config.json.

    peft puts it on that base, and sentence-transformers, to which the folder also tells pooling, prompts and length, does so by itself.

    Args:
        encoder: The student.
        folder: Where; it must not be there yet.

    Raises:
        UserError: It has no adapter, or its base is not as its folder has it.
    """
    if encoder.adapter is None:
        raise UserError("adapter: the student has none; leave --adapter out")
    if encoder.layers is not None or encoder.rope_theta is not None or encoder.base is None:
        raise UserError(
            "adapter: the student read its base with other layers, rope_theta or random weights, which a peft folder cannot say; "
            "export the merged model (leave --adapter out)"
        )
    export_encoder(merged(encoder), folder)
    for file in [folder / "config.json", *folder.glob("model*.safetensors*")]:
        file.unlink()
    write_peft(encoder, folder, base_name(encoder))


def base_name(encoder: TextEncoder) -> str:
    """What others find an encoder's model by: its Hugging Face id, or the folder that it is in.

    Args:
        encoder: Any encoder.
    """
    local = encoder.model.startswith(PIP) or Path(encoder.model).expanduser().is_dir()
    return str(encoder.folder.resolve()) if local else encoder.model


def load_tasks(checkpoints: Sequence[str], config: Path | None = None) -> dict[str, TextEncoder]:
    """Task -> student, all of one base and read alike.

    Args:
        checkpoints: `TASK=CHECKPOINT` each; without a task, the run's folder names it.
        config: The configuration of all their runs, in place of the checkpoints' own settings.

    Raises:
        UserError: One has no adapter, two have one name, or they differ in more than their adapters.
    """
    found: dict[str, TextEncoder] = {}
    for word in checkpoints:
        task, equals, path = word.partition("=")
        file = Path(path if equals else word).expanduser()
        if not equals:
            home = file.resolve().parent
            task = (home.parent if home.name == "checkpoints" else home).name
        if not re.fullmatch(r"[\w-]+", task) or task in found:
            raise UserError(
                f"{word}: expected TASK=CHECKPOINT, each task once and of letters, digits, - and _; got '{task}'"
            )
        encoder = load_student(file, config)
        if encoder.adapter is None:
            raise UserError(f"{file}: has no adapter; several students share a folder only where they share a base")
        first = next(iter(found.values()), encoder)
        for name, ours, theirs in zip(_ALIKE, _alike(encoder), _alike(first), strict=True):
            if ours != theirs:
                raise UserError(
                    f"{file}: its {name} is {ours}, and that of '{next(iter(found))}' {theirs}; export them apart"
                )
        found[task] = encoder
    return found


_ALIKE = ("base", "rope_theta", "dtype", "pooling", "dim", "max_length", "prompts")


def _alike(encoder: TextEncoder) -> tuple[Any, ...]:
    base = encoder.base and (encoder.base["weights"], encoder.base["layers"], encoder.base.get("heads"))
    tokenizer = encoder.tokenizer
    read = (encoder.pooling, encoder.dim, tokenizer.max_length, tokenizer.prompts)
    return (base, encoder.rope_theta, encoder.dtype, *read)


def export_tasks(tasks: Mapping[str, TextEncoder], folder: Path) -> None:
    """Writes the base once, as a sentence-transformers folder, and each task's adapter under `adapters/TASK`.

    Args:
        tasks: Task -> student, as `load_tasks` gives them.
        folder: Where; it must not be there yet.
    """
    first = next(iter(tasks.values()))
    export_encoder(without_adapter(first), folder)
    for task, encoder in tasks.items():
        write_peft(encoder, folder / ADAPTERS_FOLDER / task, base_name(encoder))


_LOAD = """
import json, sys
import numpy as np
from sentence_transformers import SentenceTransformer
folder, result, *names = sys.argv[1:]
tasks = list(dict.fromkeys(name.split(" ", 1)[0] for name in names))
model = SentenceTransformer(folder, device="cpu")
for task in tasks:
    model.load_adapter(f"{folder}/adapters/{task}", adapter_name=task)
texts, found = json.load(sys.stdin), {}
for task in reversed(tasks):
    model.set_adapter(task)
    encode = {"query": model.encode_query, "document": model.encode_document}
    for role in [name.split(" ", 1)[1] for name in names if name.startswith(task + " ")]:
        own = encode.get(role) or (lambda texts: model.encode(texts, prompt_name=role))
        found[f"{task} {role}"] = own(texts)
np.savez(result, **found)
"""


def verify_tasks(folder: Path, texts: Sequence[str], expected: Mapping[str, np.ndarray]) -> float:
    """Loads the folder with sentence-transformers in a new process, each adapter in turn; returns the least cosine.

    Args:
        folder: What `export_tasks` wrote.
        texts: n texts.
        expected: `TASK ROLE` -> (n, D) unit vectors.

    Raises:
        UserError: If it does not load, or some text's vector differs (cosine ≤ 0.9999).
    """
    return run_new(_LOAD, folder, texts, expected, list(expected))


def usage_of_tasks(name: str, tasks: Sequence[str]) -> list[str]:
    """The lines that pick a task, for the model card.

    Args:
        name: The folder's name.
        tasks: Its tasks.
    """
    return [
        f"Adapters: {', '.join(f'`{task}`' for task in tasks)}. Without one, the model is the base that they share.",
        "",
        "```python",
        f'model = SentenceTransformer("{name}")  # this folder\'s path',
        f'model.load_adapter("{name}/{ADAPTERS_FOLDER}/{tasks[0]}", adapter_name="{tasks[0]}")  # so too the others',
        f'model.set_adapter("{tasks[0]}")  # and so on, whenever the task is another',
        "```",
        "",
    ]
