"""Text to ragged tokens: prompts, truncation with a count of what it cost, and the end token that last-token pooling reads."""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from lightning_embed.batch import Tokens
from lightning_embed.errors import UserError, first_line


class TextTokenizer:
    """A model's tokenizer with its prompts and maximum length; cheap to send to a worker.

    It calls the Rust tokenizer in batches, which is several times as fast as through transformers' wrapper.

    Args:
        folder: A model folder with a tokenizer, or a tokenizer.json alone.
        prompts: Text put before each text, by role (`query`, `document`).
        max_length: Tokens, special ones included, after which a text is cut.
        end_token: Whether each text must end with the end-of-sequence token (last-token pooling); it is added to the tokenizer's own
            template, so that an exported tokenizer adds it too.
        lowercase: Whether to put texts into lower case first, whatever the tokenizer does by itself.
        special_tokens: Whether the tokenizer's own special tokens stand around each text; a static model has none.
    """

    def __init__(
        self,
        folder: Path,
        prompts: dict[str, str],
        max_length: int | None,
        end_token: bool,
        lowercase: bool = False,
        special_tokens: bool = True,
    ) -> None:
        hf = _read(folder)
        if not getattr(hf, "is_fast", False):
            raise UserError(f"model folder {folder}: a fast tokenizer (tokenizer.json) is needed")
        hf.padding_side = "right"
        if hf.pad_token is None:
            hf.pad_token = hf.eos_token or hf.unk_token
        if end_token:
            _end_with(hf, folder)
        if lowercase:
            _put_in_lower_case(hf.backend_tokenizer)
        self.hf, self.folder, self.prompts = hf, folder, dict(prompts)
        self.max_length = max_length if max_length is not None else min(int(hf.model_max_length), 1_000_000)
        self._rust = hf.backend_tokenizer
        if not special_tokens:
            self._rust.post_processor = None
        self._rust.no_padding()
        self._cut_at(self.max_length)

    def __eq__(self, other: object) -> bool:
        """Whether both give the same tokens for the same text and role."""
        return isinstance(other, TextTokenizer) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    @property
    def identity(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What decides which tokens a text becomes."""
        if not hasattr(self, "_id"):
            self._cut_at(self.max_length)  # what is written down is its own limit, not the last source's
            self._id = (self._rust.to_str(), tuple(sorted(self.prompts.items())))
        return self._id

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with the tokens that a text becomes, but for prompts and maximum length."""
        self._rust.no_truncation()
        whole = self._rust.to_str()
        self._cut_at(self._cut)
        return blake2b(whole.encode(), digest_size=16).hexdigest()

    @property
    def pad_id(self) -> int:
        """Id of the padding token; its positions are masked."""
        return int(self.hf.pad_token_id or 0)

    @property
    def vocabulary_size(self) -> int:
        """One more than the greatest id of a token."""
        return 1 + max(self._rust.get_vocab(with_added_tokens=True).values())

    def around(self) -> tuple[list[int], list[int]]:
        """Ids of the special tokens that come before a text, and of those that come after it."""
        encoded = self._rust.encode("a")
        places = [place for place, special in enumerate(encoded.special_tokens_mask) if not special]
        first, last = (places[0], places[-1]) if places else (len(encoded.ids), len(encoded.ids))
        return encoded.ids[:first], encoded.ids[last + 1 :]

    def _cut_at(self, max_length: int) -> None:
        self._cut = max_length
        self._rust.enable_truncation(max_length)

    def _settle(self, max_length: int) -> None:
        """Cuts at max_length and pads nothing; a call of `hf`, which shares the Rust tokenizer, may have set either otherwise."""
        if self._rust.padding is not None:
            self._rust.no_padding()
        if (self._rust.truncation or {}).get("max_length") != max_length:
            self._cut_at(max_length)

    def __call__(
        self, texts: Sequence[str], role: str = "document", max_length: int | None = None
    ) -> tuple[Tokens, int, int]:
        """Tokenises texts after the role's prompt.

        Args:
            texts: n texts.
            role: `query`, `document` or another name among the prompts; one without a prompt has none.
            max_length: Tokens after which these texts are cut, up to the tokenizer's own max_length, which is the default.

        Returns:
            The tokens, how many texts were cut, and how many tokens that lost.
        """
        tokens, lost = self.encode(texts, role, max_length)
        return tokens, sum(count > 0 for count in lost), sum(lost)

    def encode(
        self, texts: Sequence[str], role: str = "document", max_length: int | None = None
    ) -> tuple[Tokens, list[int]]:
        """The same, with the tokens that were cut off each text.

        Args:
            texts: n texts.
            role: As above.
            max_length: As above.
        """
        self._settle(min(max_length or self.max_length, self.max_length))
        prompt = self.prompts.get(role, "")
        encoded = self._rust.encode_batch_fast([prompt + text for text in texts])
        lost = [sum(len(p.ids) - sum(p.special_tokens_mask) for p in one.overflowing) for one in encoded]
        ids = [one.ids for one in encoded]
        lengths = torch.tensor([len(i) for i in ids], dtype=torch.long)
        return Tokens(torch.tensor([t for i in ids for t in i], dtype=torch.long), lengths), lost

    def pieces(self, text: str, role: str = "document", max_length: int | None = None) -> list[str]:
        """Cuts a text into consecutive pieces that each fit, with prompt and special tokens, into max_length.

        A piece ends at white space where there is some in its last tenth.

        Args:
            text: Of any length; nothing is cut.
            role: Whose prompt will precede each piece.
            max_length: Tokens of a piece; None: the tokenizer's max_length.
        """
        limit = min(max_length or self.max_length, self.max_length)
        self._settle(limit)
        self._rust.no_truncation()
        try:
            room = max(1, limit - len(self._rust.encode(self.prompts.get(role, "")).ids))
            spans = self._rust.encode(text, add_special_tokens=False).offsets
        finally:
            self._cut_at(self._cut)
        return [text] if len(spans) <= room else _split(text, [start for start, _ in spans], room)


def _read(folder: Path) -> Any:
    """transformers' tokenizer of a folder, or of a tokenizer.json alone."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        if folder.is_file():
            return PreTrainedTokenizerFast(tokenizer_file=str(folder))
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the Rust tokenizer raises bare exceptions
        reason = first_line(error)
        raise UserError(f"model folder {folder}: its tokenizer could not be loaded ({reason})") from None


def _before_word(text: str, place: int) -> bool:
    return text[place - 1].isspace() or text[place].isspace()


def _split(text: str, starts: list[int], room: int) -> list[str]:
    """A text in pieces of at most `room` tokens; a piece ends before a word if one starts near its end.

    Args:
        text: Of any length; nothing is cut.
        starts: Where each of its tokens starts.
        room: Tokens of a piece.
    """
    ends, first = [], 0
    while first + room < len(starts):
        near = range(first + room, first + room - room // 10, -1)
        first = next((token for token in near if _before_word(text, starts[token])), first + room)
        ends.append(starts[first])
    pieces = [text[start:end].strip() for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]
    return [piece for piece in pieces if piece]


def _put_in_lower_case(rust: Any) -> None:
    """Also in what is saved of it."""
    from tokenizers.normalizers import Lowercase, Sequence

    rust.normalizer = Lowercase() if rust.normalizer is None else Sequence([Lowercase(), rust.normalizer])


def _end_with(hf: Any, folder: Path) -> None:
    """Makes the Rust tokenizer end every text with the end-of-sequence token, unless it does so already."""
    from tokenizers import processors

    end = hf.eos_token or hf.sep_token
    if end is None:
        raise UserError(f"model folder {folder}: last_token pooling needs a tokenizer with an end-of-sequence token")
    rust = hf.backend_tokenizer
    end_id = rust.token_to_id(end)
    if rust.encode("a").ids[-1:] == [end_id]:
        return
    template = processors.TemplateProcessing(
        single=f"$A:0 {end}:0", pair=f"$A:0 {end}:0 $B:1 {end}:1", special_tokens=[(end, end_id)]
    )
    rust.post_processor = processors.Sequence([rust.post_processor, template]) if rust.post_processor else template
