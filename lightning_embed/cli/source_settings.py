"""Unknown settings of sources, which are known where they were written: in which file, or after which option."""

from collections.abc import Iterable, Mapping

from lightning_embed.cli.words import Piece
from lightning_embed.datamodules.sources.given import unknown_setting
from lightning_embed.errors import UserError
from lightning_embed.utils.configs import arguments_of

SPLITS = ("train", "validation", "test", "predict")


def check_source_settings(given: Iterable[Piece]) -> None:
    """Raises `UserError` at the first setting that no source has.

    Args:
        given: What each --config and each option sets.
    """
    for piece in given:
        data = piece.content.get("data") if isinstance(piece.content, Mapping) else None
        if not isinstance(data, Mapping) or _is_another(data.get("class_path")):
            continue
        settings = arguments_of(data)
        for split in SPLITS:
            items = settings.get(split)
            sources = items if isinstance(items, list) else [items]
            for number, source in enumerate(sources, start=1):
                if isinstance(source, Mapping) and (unknown := unknown_setting(source)):
                    where = piece.where if piece.where.startswith("--") else f"{piece.where}: data.{split}"
                    which = f", item {number}" if isinstance(items, list) else ""
                    raise UserError(f"{where}{which}: {unknown}")


def _is_another(kind: object) -> bool:
    """Whether a class is a user's own, whose settings may be others."""
    return kind is not None and str(kind).rpartition(".")[2] != "EmbeddingDataModule"
