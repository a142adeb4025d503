"""What trains in a run, and how many weights that is."""

import lightning.pytorch as L
from lightning.pytorch.callbacks import ModelSummary
from torch import nn


class WeightsSummary(ModelSummary):
    """Prints a line for each part of the module that has weights, in place of Lightning's table of layers, modes and FLOPs."""

    def __init__(self) -> None:
        super().__init__()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Prints the lines, on the first process."""
        if trainer.is_global_zero:
            print("\n".join(weights_lines(pl_module)), flush=True)


def weights_lines(module: L.LightningModule) -> list[str]:
    """`student (TextEncoder): 33,360,000 weights, 33,212,544 of them train`, for each part that has weights.

    Args:
        module: Its parts are its direct submodules.
    """
    lines = []
    for name, part in module.named_children():
        weights = sum(p.numel() for p in part.parameters())
        training = sum(p.numel() for p in part.parameters() if p.requires_grad)
        if weights:
            share = "all of them train" if training == weights else f"{training:,} of them train"
            several = name == "losses" or isinstance(part, nn.ModuleDict)
            kind = "" if several else f" ({type(part).__name__})"
            lines.append(
                f"{name}{kind}: {weights:,} weight{'s' * (weights > 1)}, {share if training else 'none trains'}"
            )
    return lines
