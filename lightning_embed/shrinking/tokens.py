"""The tokens that a corpus uses, and a tokenizer that knows no others and still gives the same tokens on that corpus."""

import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightning_embed.datamodules.sources.rows import as_list
from lightning_embed.encoders.positions import first_position
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.tokenizer import TextTokenizer
from lightning_embed.utils.quiet import quiet

BYTE = 6
"""Characters of a byte's token, such as <0x0A>."""
OTHER_FILES = ("vocab.txt", "vocab.json", "merges.txt", "*.model", "added_tokens.json", "special_tokens_map.json")
"""What a tokenizer's folder may hold of its old vocabulary, besides tokenizer.json."""


def used_tokens(tokenizer: TextTokenizer, batches: Iterable[list[str]]) -> set[int]:
    """Ids of all tokens of some texts, behind each of the tokenizer's prompts; nothing is cut.

    Args:
        tokenizer: Its own truncation is lifted meanwhile.
        batches: Texts.
    """
    rust = tokenizer.hf.backend_tokenizer
    cut = rust.truncation
    rust.no_truncation()
    found: set[int] = set()
    try:
        for texts in batches:
            for prompt in {"", *tokenizer.prompts.values()}:
                for encoded in rust.encode_batch_fast([prompt + text for text in texts]):
                    found.update(encoded.ids)
    finally:
        if cut:
            rust.enable_truncation(**cut)
    return found


def kept_tokens(encoder: TextEncoder, used: set[int]) -> list[int]:
    """Ids, in order, of the tokens that an encoder needs for texts that have some.

    Args:
        encoder: The whole one.
        used: Ids that the texts have.
    """
    named = {i for ids in _named_ids(encoder.config).values() for i in ids if i < encoder.tokenizer.vocabulary_size}
    kept = set(tokens_to_keep(json.loads(encoder.tokenizer.hf.backend_tokenizer.to_str()), used | named))
    if first_position(encoder.backbone):  # its positions are numbered from the padding's id on, which must not move
        kept |= set(range(encoder.tokenizer.pad_id + 1))
    return sorted(kept)


def _named_ids(config: Any) -> dict[str, list[int]]:
    """The ids that a config names, such as `pad_token_id`."""
    named = {name: value for name, value in config.to_dict().items() if name.endswith("_token_id")}
    return {name: as_list(value) for name, value in named.items() if value not in (None, [])}


def tokens_to_keep(state: dict[str, Any], used: set[int]) -> list[int]:
    """Ids, in order, of the tokens that a smaller tokenizer needs to split the same texts alike, and any other text at all.

    Those are the used ones, added and special ones, single characters and bytes, and whatever byte-pair encoding merges on the way to a
    used one. WordPiece takes the longest token that fits, a unigram model the likeliest split, and byte-pair encoding the earliest merge
    that applies: none of these changes when tokens that were not taken are gone.

    Args:
        state: tokenizer.json.
        used: Ids that the texts have.

    Raises:
        UserError: The kind of tokenizer is not known.
    """
    model, added = state["model"], {token["content"] for token in state["added_tokens"]}
    prefix = model.get("continuing_subword_prefix") or ("##" if model["type"] == "WordPiece" else "")
    if model["type"] == "Unigram":
        ids = {piece: i for i, (piece, _) in enumerate(model["vocab"])}
    elif model["type"] in ("WordPiece", "BPE", "WordLevel"):
        ids = model["vocab"]
    else:
        raise UserError(f"vocabulary: a tokenizer of the kind {model['type']} cannot be cut")
    ids = ids | {token["content"]: token["id"] for token in state["added_tokens"]}
    suffix = model.get("end_of_word_suffix") or ""
    kept = {token for token, i in ids.items() if i in used or token in added}
    if model["type"] != "WordLevel":  # its single characters are words like any other
        kept |= {token for token in ids if _is_single(token.removeprefix(prefix).removesuffix(suffix))}
    unknown = model.get("unk_token")
    kept |= {unknown} if unknown in ids else set()
    if model["type"] == "Unigram" and model.get("unk_id") is not None:
        kept.add(model["vocab"][model["unk_id"]][0])
    if model["type"] == "BPE":
        kept |= _merged_on_the_way(kept - added, _merges(model), prefix, suffix)
    return sorted(ids[token] for token in kept if token in ids)


def _is_single(token: str) -> bool:
    return len(token) <= 1 or (len(token) == BYTE and token.startswith("<0x") and token.endswith(">"))


def _merges(model: dict[str, Any]) -> list[tuple[str, str]]:
    """The merges of byte-pair encoding, which older files have as `a b`."""
    return [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]  # type: ignore[misc]


def _merged_on_the_way(tokens: Iterable[str], merges: list[tuple[str, str]], prefix: str, suffix: str) -> set[str]:
    """Every token that byte-pair encoding makes while it builds some tokens."""
    rank = {pair: i for i, pair in enumerate(merges)}
    found: set[str] = set()
    for token in tokens:
        parts = _characters(token, prefix, suffix)
        while (first := _next_merge(parts, rank)) is not None:
            parts[first : first + 2] = [parts[first] + parts[first + 1].removeprefix(prefix)]
            found.add(parts[first])
    return found


def _characters(token: str, prefix: str, suffix: str) -> list[str]:
    """What byte-pair encoding starts from."""
    bare = token.removeprefix(prefix).removesuffix(suffix)
    parts = [prefix + character for character in bare]
    if parts and not (prefix and token.startswith(prefix)):
        parts[0] = bare[0]
    if parts and suffix and token.endswith(suffix):
        parts[-1] += suffix
    return parts


def _next_merge(parts: list[str], rank: dict[tuple[str, str], int]) -> int | None:
    """Where the pair starts that is merged first; None: no pair is."""
    ranks = [rank.get(pair, len(rank)) for pair in pairwise(parts)]
    best = min(ranks, default=len(rank))
    return None if best == len(rank) else ranks.index(best)


def cut_state(state: dict[str, Any], kept: list[int]) -> dict[str, Any]:
    """tokenizer.json with some of its tokens, numbered from 0 in the order of their old ids.

    Args:
        state: The whole one; it stays as it is.
        kept: Old ids, in order.
    """
    new = {old: number for number, old in enumerate(kept)}
    made = json.loads(json.dumps(state))
    model = made["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [entry for i, entry in enumerate(model["vocab"]) if i in new]
        if model.get("unk_id") is not None:
            model["unk_id"] = new[model["unk_id"]]
    else:
        model["vocab"] = {token: new[i] for token, i in model["vocab"].items() if i in new}
    if model["type"] == "BPE":
        there, prefix = set(model["vocab"]), model.get("continuing_subword_prefix") or ""
        model["merges"] = [[a, b] for a, b in _merges(model) if {a, b} <= there and a + b.removeprefix(prefix) in there]
    for token in made["added_tokens"]:
        token["id"] = new[token["id"]]
    if made.get("padding"):
        made["padding"]["pad_id"] = new[made["padding"]["pad_id"]]
    _renumber_template(made.get("post_processor"), new)
    return made


def _renumber_template(processor: Any, new: dict[int, int]) -> None:
    """Renumbers the special tokens that a post-processor puts around a text."""
    if not processor:
        return
    for one in processor.get("processors", []):
        _renumber_template(one, new)
    for name in ("sep", "cls"):
        if isinstance(processor.get(name), list):
            processor[name][1] = new[processor[name][1]]
    for token in (processor.get("special_tokens") or {}).values():
        token["ids"] = [new[i] for i in token["ids"]]


@torch.no_grad()
def keep_tokens(encoder: TextEncoder, kept: list[int], scratch: Path) -> None:
    """Leaves some tokens in an encoder: rows of its table, ids in its config, and a tokenizer that knows no others.

    Args:
        encoder: Changed in place; the table is a new one.
        kept: Old ids, in order, which must hold all that `tokens_to_keep` names.
        scratch: An empty folder, from which the tokenizer is read.
    """
    backbone, config, old = encoder.backbone, encoder.config, encoder.tokenizer
    new = {i: number for number, i in enumerate(kept)}
    table = backbone.get_input_embeddings()
    padding = None if table.padding_idx is None else new.get(table.padding_idx)
    smaller = nn.Embedding(len(kept), table.embedding_dim, padding_idx=padding, _weight=table.weight[kept].clone())
    backbone.set_input_embeddings(smaller)
    config.vocab_size = len(kept)
    for name, ids in _named_ids(config).items():
        moved = [new.get(i, i) for i in ids]  # one that was no token before is none now
        setattr(config, name, moved if isinstance(getattr(config, name), list) else moved[0])
    write_tokenizer(old, kept, scratch)
    encoder.tokenizer = TextTokenizer(scratch, old.prompts, old.max_length, end_token=False)


def write_tokenizer(tokenizer: TextTokenizer, kept: list[int], folder: Path) -> None:
    """Saves a tokenizer with some of its tokens.

    Args:
        tokenizer: The whole one.
        kept: Old ids, in order.
        folder: Where.
    """
    with quiet("transformers"):
        tokenizer.hf.save_pretrained(str(folder))
    for pattern in OTHER_FILES:
        for file in folder.glob(pattern):
            file.unlink()
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(cut_state(json.loads(file.read_text(encoding="utf-8")), kept), ensure_ascii=False))
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings.pop("added_tokens_decoder", None)  # by old ids; tokenizer.json has the same
    file.write_text(json.dumps(settings, indent=2, ensure_ascii=False))
