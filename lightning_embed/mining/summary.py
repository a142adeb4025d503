"""What is printed: the size of the work, what share of the candidates fell to each rule, and ten examples to look at."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lightning_embed.batch import NEGATIVE
from lightning_embed.mining.output import Mined
from lightning_embed.mining.pairs import Pairs
from lightning_embed.mining.rules import CHOSEN, LEFT_OVER, VERDICTS, Rules

EXAMPLES = 10
SHOWN = 110
"""Characters of a text that are shown."""


def size(pairs: Pairs) -> str:
    """How many pairs, anchors and documents there are.

    Args:
        pairs: What negatives were mined for.
    """
    return (
        f"{len(pairs.anchor):,} pairs of {len(pairs.anchors):,} anchors, over {len(pairs.corpus):,} different documents"
    )


def remarks(pairs: Pairs, most_positives: int) -> Iterator[str]:
    """What of a source is not used as a reader might expect.

    Args:
        pairs: What negatives were mined for.
        most_positives: An anchor's positives beyond this number do not lengthen the lists of candidates.
    """
    source = pairs.rows.source
    if NEGATIVE in pairs.rows.columns:
        yield f"source '{source.title}': its own negatives are left out; the output has mined ones alone"
    if source.long_texts == "chunk":
        yield f"source '{source.title}': long_texts: chunk is for training; mining reads texts up to their max_length"
    if pairs.most_positives > most_positives:
        yield (
            f"an anchor has {pairs.most_positives:,} positives; lists of candidates are made for {most_positives} of them, so such "
            "anchors may get fewer negatives"
        )


def shares(verdicts: NDArray[np.int64], rules: Rules, last_rank: int) -> Iterator[str]:
    """A line for each rule: how many candidates fell to it, of those that it was asked about and of all.

    Args:
        verdicts: (len(VERDICTS),) candidates by verdict.
        rules: By which candidates were left out.
        last_rank: range_max.
    """
    meaning = {
        "chosen": "negatives",
        "positive": "positives of the anchor, or its own text",
        "label": "same label or document as the anchor",
        "absolute_margin": f"above the positive's score - {rules.absolute_margin}",
        "relative_margin": f"above the positive's score - {rules.relative_margin} of it",
        "max_score": f"above {rules.max_score}",
        "min_score": f"below {rules.min_score}",
        "range_min": f"among the first {rules.range_min} that passed",
        "range_max": f"beyond the first {last_rank} that passed",
        "left over": f"passed, but more than {rules.num_negatives}",
    }
    total = max(1, int(verdicts.sum()))
    for verdict, name in enumerate(VERDICTS):
        if verdicts[verdict] or verdict in (CHOSEN, LEFT_OVER):
            yield f"  {verdicts[verdict] / total:6.1%}  {name:<16}{meaning[name]} ({verdicts[verdict]:,})"


def coverage(mined: Mined) -> Iterator[str]:
    """How many pairs got how many negatives, and the scores of both.

    Args:
        mined: What was found.
    """
    counts, wanted = mined.counts, mined.negatives.shape[1]
    full, none = int((counts == wanted).sum()), int((counts == 0).sum())
    more = "" if full == len(counts) else " (range_max looks further)"
    yield (
        f"{len(counts):,} pairs: {full:,} with {wanted} negatives, {len(counts) - full - none:,} with fewer, {none:,} with none{more}"
    )
    found = mined.negative_scores[mined.negatives >= 0]
    if len(found):
        spread = " ".join(
            f"{name} {_quartiles(v)}" for name, v in (("positives", mined.positive_scores), ("negatives", found))
        )
        yield f"scores (25 %, median, 75 %): {spread}"


def _quartiles(values: NDArray[np.float32]) -> str:
    return " / ".join(f"{v:.3f}" for v in np.quantile(values, (0.25, 0.5, 0.75)))


def examples(mined: Mined, count: int = EXAMPLES) -> Iterator[str]:
    """Some pairs, spread evenly over those with negatives, with what was found for them.

    Args:
        mined: What was found.
        count: How many.
    """
    pairs = mined.pairs
    having = np.flatnonzero(mined.counts > 0)
    for pair in having[np.unique(np.linspace(0, len(having) - 1, min(count, len(having))).astype(int))]:
        anchor = pairs.anchor[pair]
        found = mined.negatives[anchor][mined.negatives[anchor] >= 0]
        yield f"         {_short(pairs.anchors.take([anchor])[0])}"
        yield f"  + {mined.positive_scores[pair]:6.3f} {_short(pairs.corpus.take([pairs.positive[pair]])[0])}"
        for text, score in zip(pairs.corpus.take(found), mined.negative_scores[anchor], strict=False):
            yield f"  - {score:6.3f} {_short(text)}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"
