"""A LightningModule whose checkpoints say how to rebuild it."""

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self

import lightning.pytorch as L

from lightning_embed.checkpoints.adapters import check_base, note_base
from lightning_embed.checkpoints.load import checkpoint_file, load_arguments
from lightning_embed.checkpoints.settings import KEY, write_settings
from lightning_embed.compat.lightning import fix_progress_counters
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.utils.described import Described


class SavedModule(Described, L.LightningModule):
    """Writes the settings that it was constructed with into its checkpoints, and is rebuilt from them."""

    student: TextEncoder
    """The encoder that trains."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds how far the run is, so that it resumes exactly, the base of an adapter, and the settings that the module is rebuilt from."""
        fix_progress_counters(self.trainer, checkpoint)
        note_base(self.student, checkpoint)
        write_settings(self, checkpoint)
        checkpoint[KEY]["precision"] = str(self.trainer.precision)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises `UserError` if the checkpoint is another student's or another base's adapter."""
        trained = [name for name, p in self.named_parameters() if p.requires_grad]
        check_base(self.student, checkpoint, trained, "the checkpoint")

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """torch's, with one line for weights of another model."""
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:
            raise UserError(f"the checkpoint is of another model: {' '.join(str(error).split())[:300]}") from None

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | Path | IO[Any],
        map_location: Any = None,
        hparams_file: str | Path | None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **changed: Any,
    ) -> Self:
        """The module of a checkpoint, rebuilt from the settings in it, with its weights; the teacher loads when it is first used.

        Args:
            checkpoint_path: A `.ckpt` file, or the folder of a sharded checkpoint.
            map_location: As torch.load takes it.
            hparams_file: A run's config.yaml, in place of the checkpoint's settings.
            strict: Whether the weights must be those of the module, no more and no less; None: as its `strict_loading` has it.
            weights_only: Ignored: only tensors and plain data are ever read.
            changed: Arguments of the class that are given in place of the saved ones, such as `losses` or `optimizer`.

        Raises:
            UserError: Something cannot be rebuilt, and is not given.
        """
        if not isinstance(checkpoint_path, str | Path):
            raise UserError(f"load_from_checkpoint: expected a path, got {type(checkpoint_path).__name__}")
        path = Path(checkpoint_path)
        kind, arguments = load_arguments(cls, path, None if hparams_file is None else Path(hparams_file), changed)
        parent: Any = super(SavedModule, kind)
        return parent.load_from_checkpoint(checkpoint_file(path), map_location, None, strict, True, **arguments)
