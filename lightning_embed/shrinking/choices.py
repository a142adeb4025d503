"""The cuts that a user's settings allow, each measured."""

from typing import Literal

from lightning_embed.errors import UserError
from lightning_embed.shrinking.budget import fitting, sizes_of
from lightning_embed.shrinking.cuts import Cut, Cuts
from lightning_embed.shrinking.layers import drop_layers, evenly_spaced, removable
from lightning_embed.shrinking.neurons import smaller
from lightning_embed.shrinking.tables import Row
from lightning_embed.shrinking.words import Words
from lightning_embed.utils.activity import track

Vocabulary = Literal["all", "used"]


def _path(cuts: Cuts, kept: int) -> list[list[int]]:
    """The layers that are left after each removal."""
    return drop_layers(cuts.count, kept, removable(cuts.encoder), cuts.score)


def step_by_step(cuts: Cuts, layers: int | None, intermediate: int | None, words: Words | None) -> list[Row]:
    """Layers, then neurons, then tokens, the cut that is wanted last.

    Args:
        cuts: Of the model.
        layers: How many are kept; None: all.
        intermediate: Neurons that are kept of each; None: all.
        words: The tokens that are kept; None: all.
    """
    rows, cut = [], cuts.whole
    if layers is not None and layers < cuts.count:
        spaced = tuple(evenly_spaced(cuts.count, layers))
        rows.append(Row("layers evenly spaced", cuts.measure(Cut(spaced, 0))))
        cut = Cut(tuple(_path(cuts, layers)[-1]), 0)
        rows.append(Row("layers chosen", cuts.measure(cut)))
    if intermediate is not None:
        cut = Cut(cut.layers, intermediate)
        rows.append(Row("and neurons", cuts.measure(cut)))
    if words is not None:
        cut = Cut(cut.layers, cut.neurons, words.others)
        rows.append(Row("and tokens", cuts.measure(cut)))
    return rows


def within(
    cuts: Cuts,
    most: int,
    layers: int | None,
    intermediate: int | None,
    vocabulary: Vocabulary | None,
    words: Words | None,
) -> list[Row]:
    """Every way to fit into a size, the best one last.

    Args:
        cuts: Of the model.
        most: Bytes that may be taken.
        layers: As above; None: as many as there is room for.
        intermediate: As above; None: all, three quarters, half or a quarter.
        vocabulary: `all` or `used`; None: either.
        words: The tokens of the texts, where these may be all that is kept.

    Raises:
        UserError: Nothing fits.
    """
    sizes = sizes_of(cuts.encoder)
    widths = [intermediate] if intermediate else list(smaller(sizes.neurons)) if sizes.neuron else [0]
    whole = cuts.encoder.tokenizer.vocabulary_size
    tokens: dict[int, tuple[int, ...] | None] = {} if vocabulary == "used" else {whole: None}
    if words is not None:
        tokens |= {len(words.all): words.others}
    found = list(fitting(sizes, most, layers, widths, list(tokens)))
    if not found:
        least = sizes.of(layers or 1, min(widths), min(tokens))
        raise UserError(
            f"max_mb: the smallest model that {'fits these settings' if layers or intermediate or vocabulary else 'can be made'} takes "
            f"{least / 1e6:.1f} MB, got {most / 1e6:g}"
        )
    path = {len(left): tuple(left) for left in _path(cuts, min(count for count, _, _ in found))}
    choices = [Cut(path[count], 0 if width == sizes.neurons else width, tokens[some]) for count, width, some in found]
    rows = [Row("fits", cuts.measure(cut)) for cut in track(choices, "ways to fit")]
    best = max(rows, key=lambda row: row.measured.closeness.cosine)
    return [*(row for row in rows if row is not best), Row("fits best", best.measured)]
