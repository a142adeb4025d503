"""Writes an encoder as a sentence-transformers folder of stock modules, and proves that it gives the same vectors."""

import copy
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from lightning_embed.encoders.copies import as_exported, gathered, merged, projected
from lightning_embed.encoders.pretrained import TASK_TYPES
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.encoders.token_table import TokenTable
from lightning_embed.errors import UserError
from lightning_embed.export.older_readers import write_for_older_readers
from lightning_embed.heads import Projection
from lightning_embed.heads.dense import ACTIVATIONS, Dense, Normalize, first_entries
from lightning_embed.utils.activity import activity
from lightning_embed.utils.atomic import whole_folder
from lightning_embed.utils.quiet import quiet

POOLING = {"last_token": "lasttoken", "mean": "mean", "cls": "cls"}
ROLES = ("query", "document")
"""What every folder has a prompt for, if an empty one."""
LEAST_COSINE = 0.9999
LENGTH_ERROR = 1e-3
"""How far the length of an exported vector may be from 1."""


def export_encoder(encoder: TextEncoder, folder: str | Path, dense: Projection | None = None) -> None:
    """Saves backbone, tokenizer, pooling, prompts and normalisation; the folder is there whole or not at all.

    Args:
        encoder: What to save, an adapter merged in; in a run with sharded weights every rank calls this, and rank 0 writes.
        folder: Where; an older export there is replaced.
        dense: ψ of the student's side, to give vectors in the teacher's space; None: the student's own.

    Raises:
        UserError: If the folder cannot be written.
    """
    unsharded = gathered(encoder)
    if unsharded is None:
        return
    encoder, folder = as_exported(unsharded), Path(folder)
    if dense is not None:
        encoder = projected(encoder, dense.weight, dense.bias)
    with saved(folder) as (made, plain):
        save_modules(stock_modules(encoder, plain), encoder.tokenizer.prompts, made)


@contextmanager
def saved(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Where to write a folder that appears whole or not at all, and a folder beside it for what is written on the way.

    Args:
        folder: Its place.

    Raises:
        UserError: It cannot be written.
    """
    try:
        with (
            quiet("transformers"),
            whole_folder(folder) as made,
            tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as plain,
        ):
            yield made, Path(plain)
    except OSError as error:
        raise UserError(f"{folder}: the model could not be written there: {error.strerror or error}") from None


def stock_modules(encoder: TextEncoder, plain: Path) -> list[nn.Module]:
    """An encoder as sentence-transformers' own modules.

    Args:
        encoder: As it is exported, whole.
        plain: An empty folder, where backbone and tokenizer are written on the way.
    """
    from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
    from tokenizers import Tokenizer

    heads = [*encoder.heads]
    if encoder.dim < encoder.width:  # truncate_dim would cut after Normalize, and leave vectors shorter than 1
        heads.append(first_entries(encoder.width, encoder.dim))
    backbone: Any = merged(encoder).backbone
    if isinstance(backbone, TokenTable):
        rust = Tokenizer.from_str(encoder.tokenizer.identity[0])
        body: list[nn.Module] = [StaticEmbedding(rust, backbone.embedding.weight.detach().cpu())]
    else:
        backbone.save_pretrained(plain)
        tokenizer = copy.copy(encoder.tokenizer.hf)
        tokenizer.chat_template = None  # with one, sentence-transformers takes every text for a message, and renders it
        tokenizer.save_pretrained(str(plain))
        transformer = Transformer(str(plain), max_seq_length=encoder.tokenizer.max_length)
        token_heads = (_module(head, "token_embeddings") for head in encoder.token_heads)
        body = [transformer, *token_heads, Pooling(encoder.pooled, POOLING[encoder.pooling])]
    return [*body, *map(_module, [*heads, Normalize()])]


def save_modules(modules: list[nn.Module], prompts: Mapping[str, str], folder: Path) -> None:
    """Saves a sentence-transformers model.

    Args:
        modules: Its modules.
        prompts: Text before a text, by role: `query`, `document` and any other.
        folder: Where.
    """
    from sentence_transformers import SentenceTransformer

    prompts = dict.fromkeys(ROLES, "") | dict(prompts)
    if prompts["document"]:  # for mteb, which gives other texts none; in training they have the document's
        prompts = dict.fromkeys(TASK_TYPES, prompts["document"]) | prompts
    model = SentenceTransformer(modules=modules, prompts=prompts, similarity_fn_name="cosine", device="cpu")
    model.save(str(folder), create_model_card=False)
    write_for_older_readers(folder)


def _module(head: nn.Module, vectors: str = "sentence_embedding") -> Any:
    """A head as sentence-transformers' module."""
    from sentence_transformers.sentence_transformer import modules

    if not isinstance(head, Dense):
        return modules.Normalize()
    out_dim, in_dim = head.linear.weight.shape
    activation = ACTIVATIONS[type(head.activation).__name__]()
    bias = head.linear.bias is not None
    made = modules.Dense(in_dim, out_dim, bias, activation, module_input_name=vectors)
    made.linear.load_state_dict(head.linear.state_dict())
    return made


_LOAD = """
import json, sys
import numpy as np
from sentence_transformers import SentenceTransformer
folder, result, *names = sys.argv[1:]
model = SentenceTransformer(folder, device="cpu")
texts, encode = json.load(sys.stdin), {"query": model.encode_query, "document": model.encode_document}
np.savez(result, **{n: encode[n](texts) if n in encode else model.encode(texts, prompt_name=n) for n in names})
"""


def export_proved(
    encoder: TextEncoder, folder: Path, texts: Sequence[str], complete: Callable[[Path], None] | None = None
) -> float:
    """Saves an encoder, loads it with sentence-transformers in a new process, and only then puts it in place; returns the least cosine.

    Args:
        encoder: What to save, as for `export_encoder`; whole, not sharded.
        folder: Where; an older export there is replaced.
        texts: Texts to compare on, as queries and as documents.
        complete: Adds files to the folder before it is compared.

    Raises:
        UserError: If the folder cannot be written or does not load, or some text's vector differs; nothing is left behind.
    """
    with whole_folder(folder) as made:
        export_encoder(encoder, made)
        if complete is not None:
            complete(made)
        try:
            return verify_export(encoder, made, texts)
        except UserError as error:
            raise UserError(str(error).replace(str(made), str(folder))) from None


def verify_export(encoder: TextEncoder, folder: str | Path, texts: Sequence[str]) -> float:
    """Loads the folder with sentence-transformers in a new process and compares; returns the least cosine over texts and roles.

    Args:
        encoder: What was saved.
        folder: Where.
        texts: Texts to compare on, as queries and as documents.

    Raises:
        UserError: If the folder does not load, or some text's vector differs (cosine ≤ 0.9999, or length not 1).
    """
    encoder = as_exported(encoder)
    with activity("checking the exported model in a new process"):
        return verify_folder(Path(folder), texts, expected_vectors(encoder, texts))


def expected_vectors(encoder: TextEncoder, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Role -> (n, D) unit vectors that an exported folder must give: of queries, of documents, and under each other prompt.

    Args:
        encoder: What is exported.
        texts: n texts.
    """
    return {role: encoder.encode(texts, role).numpy() for role in dict.fromkeys([*ROLES, *encoder.tokenizer.prompts])}


def verify_folder(folder: Path, texts: Sequence[str], expected: Mapping[str, np.ndarray]) -> float:
    """Loads the folder with sentence-transformers in a new process; returns the least cosine over texts and roles.

    Args:
        folder: The exported model.
        texts: n texts.
        expected: Role -> (n, D) unit vectors, as `expected_vectors` gives them.

    Raises:
        UserError: If the folder does not load, or some text's vector differs (cosine ≤ 0.9999, or length not 1).
    """
    return run_new(_LOAD, folder, texts, expected, list(expected))


def run_new(
    script: str,
    folder: Path,
    texts: Sequence[str],
    expected: Mapping[str, np.ndarray],
    words: Sequence[str] = (),
    bound: float = LEAST_COSINE,
    name: str = "",
) -> float:
    """Runs a script that embeds texts with a folder's model in a new process; returns the least cosine with what is expected.

    Args:
        script: Python; its arguments are the folder, the .npz file that it writes, and `words`; the texts are JSON on its input.
        folder: The exported model.
        texts: n texts.
        expected: Name in the .npz file -> (n, D) unit vectors.
        words: What else it is given.
        bound: The cosine that each text's vectors must be above.
        name: What is compared, for messages; the folder if it is empty.

    Raises:
        UserError: If the model does not load, or some text's vector differs in direction or length.
    """
    name = name or str(folder)
    found = read_in_new_process(script, folder, texts, words, name)
    least, (shortest, longest) = least_cosine(found, expected), lengths(found)
    if not least > bound:
        raise UserError(f"{name}: the exported model's vectors differ from the encoder's (least cosine {least:.6f})")
    if not (shortest > 1 - LENGTH_ERROR and longest < 1 + LENGTH_ERROR):
        raise UserError(
            f"{name}: the exported model's vectors have lengths of {shortest:.4f} to {longest:.4f}, and the encoder's have 1"
        )
    return least


def read_in_new_process(
    script: str, folder: Path, texts: Sequence[str], words: Sequence[str], name: str
) -> dict[str, np.ndarray]:
    """What a script, run in a new process, writes: name -> (n, D) vectors.

    Args:
        script: As for `run_new`.
        folder: The exported model.
        texts: n texts.
        words: What else the script is given.
        name: What is read, for messages.

    Raises:
        UserError: If it does not load.
    """
    import json

    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "vectors.npz"
        done = subprocess.run(
            [sys.executable, "-c", script, str(folder), str(result), *words],
            input=json.dumps(list(texts)),
            capture_output=True,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]
            raise UserError(f"{name}: the exported model does not load ({last})")
        return dict(np.load(result))


def least_cosine(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """The least cosine of any text's two vectors; NaN where one holds NaN, -1 where sizes differ.

    Args:
        found: Role -> (n, D) vectors of any length.
        expected: Role -> (n, D) unit vectors.
    """
    if any(found[role].shape != expected[role].shape for role in expected):
        return -1.0
    unit = {role: found[role] / np.linalg.norm(found[role], axis=1, keepdims=True) for role in expected}
    return float(np.min([(unit[role] * expected[role]).sum(1).min() for role in expected]))


def lengths(found: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """The least and the greatest length of any vector.

    Args:
        found: Role -> (n, D) vectors.
    """
    norms = np.concatenate([np.linalg.norm(vectors, axis=1) for vectors in found.values()])
    return float(norms.min()), float(norms.max())
