"""The Python of docs/quantization.md runs as it is printed, and does what the page says."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_embed import TextEncoder
from lightning_embed.evaluation.metrics.quantize import quantize as both_sides
from lightning_embed.evaluation.metrics.quantize import similarity_of
from lightning_embed.export.folder import export_encoder
from lightning_embed.export.ranges import write_ranges
from tests.toys import toy_folder

PAGE = (Path(__file__).parents[2] / "docs/quantization.md").read_text(encoding="utf-8")
FOLDER = '"runs/run/model"'


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that the page's blocks leave, on 300 documents and 20 queries of a toy of 256 dims."""
    home = tmp_path_factory.mktemp("page")
    encoder = TextEncoder(str(toy_folder(home / "toy", hidden=256, layers=1))).eval()
    texts = [f"w{i % 199} w{(7 * i) % 193} w{(i * i) % 197}" for i in range(300)]
    export_encoder(encoder, home / "model")
    write_ranges(encoder, home / "model", texts)
    assert FOLDER in PAGE
    names: dict[str, Any] = {"texts": texts, "questions": [f"w{i} w{(7 * i) % 193}" for i in range(20)]}
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.S):
        exec(block.replace(FOLDER, repr(str(home / "model"))), names)
    return names


def unit(vectors: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(vectors[:, :128]), dim=-1)


def test_faiss_makes_the_same_codes_and_finds_what_the_weights_find(ran: dict[str, Any]) -> None:
    documents = unit(ran["documents"]).numpy()
    theirs = ran["index"].sa_encode(documents)
    differ = theirs.astype(int) - ran["codes"].astype(int)
    assert abs(differ).max() <= 1 and (differ != 0).mean() < 1e-3
    exact = ran["queries"][:, :128] @ (ran["low"] + ran["step"] * ran["codes"]).T
    assert np.array_equal(ran["order"], (-exact).argsort(axis=1)) or near(exact, ran["order"])
    assert near(exact, ran["found"])


def near(scores: np.ndarray, found: np.ndarray) -> bool:
    """Whether what was found is the best in order, up to rounding."""
    wanted = -np.sort(-scores, axis=1)[:, : found.shape[1]]
    return bool(np.abs(np.take_along_axis(scores, found, axis=1) - wanted).max() < 1e-4)


def test_bits_and_their_rescoring_are_those_of_evaluate(ran: dict[str, Any]) -> None:
    queries, documents = unit(ran["queries"]), unit(ran["documents"])
    hamming = 128 * (1 - similarity_of("binary")(*both_sides(queries, documents, "binary"))) / 2
    assert np.array_equal(ran["distances"], hamming.sort(dim=1).values[:, :40].round().int().numpy())
    scores = (queries @ both_sides(queries, documents, "binary_rescore")[1].T).numpy()
    kept = np.full_like(scores, -np.inf)
    np.put_along_axis(kept, ran["candidates"], np.take_along_axis(scores, ran["candidates"], axis=1), axis=1)
    assert near(kept, ran["best"])


def test_signed_bytes_unpack_to_the_same_bits(ran: dict[str, Any]) -> None:
    signed = ran["bits"].view("int8")
    assert np.array_equal(np.unpackbits(signed.view("uint8"), axis=1), (ran["documents"][:, :128] > 0))
    all_ones, first = np.packbits([1] * 8).view("int8")[0], np.packbits([1] + [0] * 7).view("int8")[0]
    assert (all_ones, first) == (-1, -128)  # the examples of Vespa's documentation


def test_bytes_of_weights_order_documents_as_float_weights_do(ran: dict[str, Any]) -> None:
    by_bytes = ran["query_bytes"].astype(int) @ (ran["codes"].astype(int) - 128).T
    by_floats = ran["weights"] @ ran["codes"].T.astype(float)
    assert min(np.corrcoef(one, other)[0, 1] for one, other in zip(by_bytes, by_floats, strict=True)) > 0.999
