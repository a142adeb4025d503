"""A cut model as a folder, with its card."""

from collections.abc import Sequence
from pathlib import Path

from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.export.folder import export_encoder, verify_export
from lightning_embed.export.kinds import Proof
from lightning_embed.export.model_card import model_card, public_name
from lightning_embed.shrinking.tables import Row, table


class Shrunk:
    """What `shrink` writes: a kind of export.

    Args:
        encoder: The cut model.
        model: What it was cut from.
        rows: What each cut costs and saves.
        sample: The texts on which that was measured.
    """

    def __init__(self, encoder: TextEncoder, model: str, rows: list[Row], sample: Sequence[str]) -> None:
        self.encoder, self.model, self.rows, self.sample = encoder, model, rows, sample

    @property
    def indexed(self) -> TextEncoder | None:
        """None: it is yet to be trained."""
        return None

    def write(self, folder: Path) -> None:
        """Writes a sentence-transformers folder."""
        export_encoder(self.encoder, folder)

    def prove(self, folder: Path, texts: Sequence[str]) -> Proof:
        """Compares with the vectors of the model in memory."""
        least = verify_export(self.encoder, folder, texts)
        fact = f"sentence-transformers reads it in a new process, and gives the vectors that were measured (least cosine {least:.6f})."
        return Proof(least, [fact])

    def card(self, name: str, facts: list[str]) -> str:
        """With what each cut costs and saves."""
        header, rows = table(self.rows)
        lines = [f"Cut from `{public_name(self.model)}`, and not trained since: a start for a student.", ""]
        lines += ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        measured = f"on {len(self.sample):,} texts"
        lines += [
            "",
            f"Mean cosine with the whole model's vectors, and the share of each text's 10 nearest that are kept, {measured}.",
            "",
        ]
        return model_card(self.encoder, name, {}, None, facts, lines)
