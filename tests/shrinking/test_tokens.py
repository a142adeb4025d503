import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from lightning_embed.encoders import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.shrinking.tokens import cut_state, keep_tokens, kept_tokens, tokens_to_keep, used_tokens
from tests.toys import toy_folder

CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "packing my box with five dozen liquor jugs",
    "a wizard's job is to vex chumps quickly in fog",
    "unbelievably, the unquestionable answer was 42.7 % of naïve estimates",
    "reading, rereading and misreading: readers read",
] * 3
OWN = ["the quick reader", "unbelievably quick: rereading the dog's answer", "42.7 % of naïve"]
NEW = ["zebra crossing, jumping foxes", "mischievous 1984!"]
KINDS = ("wordpiece", "byte_level", "bpe_with_affixes", "unigram", "wordlevel")


def tokenizer_of(kind: str) -> Tokenizer:
    """A trained tokenizer with special tokens at both ends, whose template knows their ids."""
    special = ["<pad>", "<unk>", "<s>", "</s>"]
    if kind == "wordpiece":
        rust = Tokenizer(models.WordPiece(unk_token="<unk>"))
        trainer: Any = trainers.WordPieceTrainer(vocab_size=220, special_tokens=special)
        rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        rust.normalizer = normalizers.BertNormalizer()
    elif kind == "byte_level":
        rust = Tokenizer(models.BPE())
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
        rust.pre_tokenizer, rust.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    elif kind == "bpe_with_affixes":
        rust = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##", end_of_word_suffix="</w>"))
        trainer = trainers.BpeTrainer(
            vocab_size=300, special_tokens=special, continuing_subword_prefix="##", end_of_word_suffix="</w>"
        )
        rust.pre_tokenizer = pre_tokenizers.Whitespace()
    elif kind == "unigram":
        rust = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>")
        rust.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        rust = Tokenizer(models.WordLevel(unk_token="<unk>"))
        trainer = trainers.WordLevelTrainer(special_tokens=special)
        rust.pre_tokenizer = pre_tokenizers.Whitespace()
    rust.train_from_iterator(CORPUS, trainer)
    ends = [("<s>", rust.token_to_id("<s>")), ("</s>", rust.token_to_id("</s>"))]
    rust.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return rust


def cut(rust: Tokenizer, texts: list[str]) -> Tokenizer:
    state = json.loads(rust.to_str())
    used = {i for text in texts for i in rust.encode(text).ids}
    return Tokenizer.from_str(json.dumps(cut_state(state, tokens_to_keep(state, used))))


@pytest.mark.parametrize("kind", KINDS)
def test_the_texts_are_split_as_before_by_a_smaller_vocabulary(kind: str) -> None:
    whole = tokenizer_of(kind)
    small = cut(whole, OWN)
    assert small.get_vocab_size() < whole.get_vocab_size()
    assert sorted(small.get_vocab().values()) == list(range(small.get_vocab_size()))
    for text in OWN:
        assert small.encode(text).tokens == whole.encode(text).tokens


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "wordlevel"])
def test_a_new_text_has_no_more_unknown_tokens_than_before(kind: str) -> None:
    whole = tokenizer_of(kind)
    small = cut(whole, OWN)
    for text in NEW:
        assert small.encode(text).tokens.count("<unk>") <= whole.encode(text).tokens.count("<unk>")


def test_all_texts_of_the_corpus_keep_their_tokens_whichever_were_counted() -> None:
    whole = tokenizer_of("byte_level")
    for count in range(1, 6):
        small = cut(whole, CORPUS[:count])
        for text in CORPUS[:count]:
            assert small.encode(text).tokens == whole.encode(text).tokens


def test_a_kind_that_is_not_known_is_refused() -> None:
    with pytest.raises(UserError, match="a tokenizer of the kind Other cannot be cut"):
        tokens_to_keep({"model": {"type": "Other", "vocab": {}}, "added_tokens": []}, set())


def test_ids_of_other_post_processors_are_changed_too() -> None:
    for processor in (
        processors.BertProcessing(("</s>", 3), ("<s>", 2)),
        processors.RobertaProcessing(("</s>", 3), ("<s>", 2)),
    ):
        rust = tokenizer_of("wordpiece")
        rust.post_processor = processors.Sequence([processor])
        state = json.loads(rust.to_str())
        kept = [i for i in tokens_to_keep(state, set()) if i != 0]  # every id moves by one
        state["added_tokens"] = [t for t in state["added_tokens"] if t["id"]]
        small = Tokenizer.from_str(json.dumps(cut_state(state, kept)))
        ids = small.encode("fox").ids
        assert (ids[0], ids[-1]) == (small.token_to_id("<s>"), small.token_to_id("</s>")) == (1, 2)


@pytest.mark.parametrize("family", ["bert", "roberta", "qwen3", "modernbert"])
def test_a_model_with_fewer_tokens_gives_the_same_vectors(family: str, tmp_path: Path) -> None:
    encoder = TextEncoder(str(toy_folder(tmp_path / "toy", family)), prompts={"query": "w7 "}).eval()
    texts = ["w1 w50 w199", "w3", "w50 w50 w2"]
    before = encoder.encode(texts), encoder.encode(texts, "query")
    kept = kept_tokens(encoder, used_tokens(encoder.tokenizer, [texts]))
    (tmp_path / "words").mkdir()
    keep_tokens(encoder, kept, tmp_path / "words")
    assert encoder.config.vocab_size == len(kept) == encoder.backbone.get_input_embeddings().num_embeddings < 20
    torch.testing.assert_close((encoder.encode(texts), encoder.encode(texts, "query")), before)
    pad = encoder.config.pad_token_id
    assert pad == encoder.tokenizer.pad_id


def test_counting_leaves_the_tokenizers_own_limit_as_it_was(tmp_path: Path) -> None:
    encoder = TextEncoder(str(toy_folder(tmp_path)), max_length=4)
    used = used_tokens(encoder.tokenizer, [["w1 w2 w3 w4 w5 w6"]])
    assert {encoder.tokenizer.hf.convert_tokens_to_ids(f"w{i}") for i in range(1, 7)} <= used
    assert encoder.tokenizer(["w1 w2 w3 w4 w5 w6"])[0].lengths.tolist() == [4]
