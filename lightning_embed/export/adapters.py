"""Adapters by themselves: peft folders, one alone or several beside the base that they share."""

from __future__ import annotations

import copy
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lightning_embed.checkpoints.student import load_student
from lightning_embed.compat.peft import FILE_PREFIX, adapter_config
from lightning_embed.encoders.copies import merged, without_adapter
from lightning_embed.encoders.lora import ADAPTERS_FOLDER, BASE_WEIGHTS, NAME, is_adapters
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.export.folder import export_encoder, run_new
from lightning_embed.utils.hashing import weights_hash


def write_peft(encoder: TextEncoder, folder: Path, base: str, hashes: Iterable[str]) -> None:
    """Writes an adapter as peft does: adapter_config.json and adapter_model.safetensors.

    Args:
        encoder: An encoder with an adapter.
        folder: Where.
        base: The folder or Hugging Face id of the model that it belongs on.
        hashes: `weights_hash` of that model, as it is found in any place; kept with the weights, for `evaluate` to check.
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
    metadata = {"format": "pt", BASE_WEIGHTS: " ".join(hashes)}
    save_file(weights, folder / "adapter_model.safetensors", metadata=metadata)


def reads_base_as_is(encoder: TextEncoder) -> bool:
    """Whether an adapter's base is the whole model of its folder, as any reader loads it: all its layers, its own θ.

    Args:
        encoder: An encoder with an adapter.
    """
    return encoder.layers is None and encoder.rope_theta is None and encoder.base is not None


def export_adapter(encoder: TextEncoder, folder: Path, base: str | None = None) -> None:
    """Writes an adapter without its base, which a reader finds by the name in adapter_config.json.

    peft puts it on that base, and sentence-transformers, to which the folder also tells pooling, prompts and length, does so by itself.

    Args:
        encoder: The student.
        folder: Where; it must not be there yet.
        base: What the folder calls the base; None: the name that it is read by here.

    Raises:
        UserError: It has no adapter, or its base is not as its folder has it.
    """
    if encoder.adapter is None:
        raise UserError("adapter: the student has none; leave --adapter out")
    if not reads_base_as_is(encoder) or encoder.base is None:
        raise UserError(
            "adapter: the student read its base with other layers, rope_theta or random weights, which a peft folder cannot say; "
            "export the merged model (leave --adapter out)"
        )
    export_encoder(merged(encoder), folder)
    for file in [folder / "config.json", *folder.glob("model*.safetensors*")]:
        file.unlink()
    write_peft(encoder, folder, base or base_name(encoder), [encoder.base["weights"]])


def base_name(encoder: TextEncoder) -> str:
    """What an encoder's model is found by on this machine: its Hugging Face id, or the folder that it is in.

    Args:
        encoder: Any encoder.
    """
    return str(encoder.folder.resolve()) if encoder.is_local else encoder.model


@contextmanager
def on_local_base(encoder: TextEncoder, folder: Path) -> Iterator[Path]:
    """A copy of an adapter's folder whose base is named as this machine finds it.

    Args:
        encoder: What was exported.
        folder: What `export_adapter` wrote.
    """
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(shutil.copytree(folder, Path(scratch) / "adapter"))
        config = made / "adapter_config.json"
        content = json.loads(config.read_text("utf-8")) | {"base_model_name_or_path": base_name(encoder)}
        config.write_text(json.dumps(content), "utf-8")
        yield made


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


def export_tasks(tasks: Mapping[str, TextEncoder], folder: Path, base: str) -> None:
    """Writes the base once, as a sentence-transformers folder, and each task's adapter under `adapters/TASK`.

    Args:
        tasks: Task -> student, as `load_tasks` gives them.
        folder: Where; it must not be there yet.
        base: What the adapters call their base, which is this folder's model.
    """
    first = next(iter(tasks.values()))
    export_encoder(without_adapter(first), folder)
    hashes = [weights_hash(folder)]
    hashes += [first.base["weights"]] if reads_base_as_is(first) and first.base else []
    for task, encoder in tasks.items():
        write_peft(encoder, folder / ADAPTERS_FOLDER / task, base, hashes)


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
