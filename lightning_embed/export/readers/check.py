"""One line for each reader of a folder: equal, by its rules, or not."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from lightning_embed.errors import UserError
from lightning_embed.export.readers import (
    infinity,
    llama_cpp,
    ollama,
    openvino,
    text_embeddings_inference,
    transformers_js,
    vllm,
)
from lightning_embed.export.readers.laid_out import LaidOut, read_folder


class Server(Protocol):
    """A module with a server's rules."""

    NAME: str
    COMMAND: str
    """What a user types to serve FOLDER, in one line."""

    def refuses(self, folder: LaidOut) -> str:
        """Why it does not read such a model at all; empty where it does."""

    def differences(self, folder: LaidOut) -> list[str]:
        """What it would read otherwise than sentence-transformers."""

    def remarks(self, folder: LaidOut) -> list[str]:
        """What to know where it reads the folder as it is meant."""


SERVERS: tuple[Server, ...] = (text_embeddings_inference, vllm, llama_cpp, ollama, infinity, transformers_js, openvino)
"""Readers that are not run here; their rules were read in their source."""


def by_rules(folder: Path) -> list[str]:
    """A sentence for each server on what it would make of a folder.

    Args:
        folder: Of a sentence-transformers model.

    Raises:
        UserError: It is none, or one whose settings are not supported.
    """
    found = read_folder(folder)
    return [_sentence(found, server) for server in SERVERS]


def commands(folder: Path) -> list[str]:
    """Markdown for a model card: one line for each server that reads a folder as it is meant; empty if none does.

    Args:
        folder: Of a sentence-transformers model, which the lines call FOLDER.
    """
    found = read_folder(folder)
    meant = [server for server in SERVERS if not server.refuses(found) and not server.differences(found)]
    lines = [f"- {server.NAME}: `{server.COMMAND}`" for server in meant]
    return ["Other readers, by their rules (what to know of each is under Export):", "", *lines, ""] if lines else []


def _sentence(folder: LaidOut, server: Server) -> str:
    name, refusal = server.NAME, server.refuses(folder)
    if refusal:
        return f"{name}: not for this model: {refusal}."
    if wrong := server.differences(folder):
        return f"{name}: gives other vectors, by its rules (not run): {'; '.join(wrong)}."
    remarks = server.remarks(folder)
    return f"{name}: reads it as it is meant, by its rules (not run{''.join(f'; {remark}' for remark in remarks)})."


def check_folder(folder: str | Path) -> list[str]:
    """A sentence for each reader of a folder; sentence-transformers is run, in a new process, on real texts.

    Args:
        folder: Of a sentence-transformers model, anybody's.

    Raises:
        UserError: It is none, or one whose settings are not supported.
    """
    from importlib.metadata import version

    from lightning_embed.encoders.text_encoder import TextEncoder
    from lightning_embed.export.folder import verify_export
    from lightning_embed.export.texts import standard_texts

    place = Path(folder).expanduser()
    rules = by_rules(place)
    encoder, texts = TextEncoder(str(place)).eval(), standard_texts()
    name = f"sentence-transformers {version('sentence-transformers')}"
    try:
        least = verify_export(encoder, place, texts)
    except UserError as error:
        return [f"{name}: not as lightning_embed reads it ({error}).", *rules]
    return [
        f"{name}: equal to lightning_embed (run; least cosine {least:.6f} on {len(texts)} texts under each prompt).",
        *rules,
    ]
