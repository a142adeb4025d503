"""Which tokens a corpus needs, and which its sample would have to do without."""

from collections.abc import Sequence

from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.shrinking.corpus import Corpus
from lightning_embed.shrinking.tokens import kept_tokens, used_tokens
from lightning_embed.utils.activity import track


class Words:
    """The tokens of a corpus: of all its texts, and of those that are not in the sample, on which a smaller vocabulary is measured.

    Args:
        encoder: The whole model.
        corpus: The texts.
        sample: Those on which cuts are compared.
    """

    all: tuple[int, ...]
    """Ids that are kept for all texts."""
    others: tuple[int, ...]
    """Ids that would be kept without the sample's texts."""

    def __init__(self, encoder: TextEncoder, corpus: Corpus, sample: Sequence[str]) -> None:
        drawn, batches = set(sample), track(corpus, "tokens of the texts")
        others = used_tokens(encoder.tokenizer, ([text for text in batch if text not in drawn] for batch in batches))
        self.others = tuple(kept_tokens(encoder, others))
        self.all = tuple(kept_tokens(encoder, others | used_tokens(encoder.tokenizer, [list(sample)])))
        self.before = encoder.tokenizer.vocabulary_size

    def sentence(self) -> str:
        """What was kept, and how it was measured."""
        return (
            f"{len(self.all):,} of {self.before:,} tokens are kept: those of the texts, and single characters. The row was measured with "
            f"the {len(self.others):,} that are left without the sample's own texts, so its cost is that on new texts."
        )
