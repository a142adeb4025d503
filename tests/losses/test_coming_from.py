"""docs/coming_from.md: both sides of its tables of losses give the same value and gradient, and every setting that it names exists."""

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

import lightning_embed as le
from lightning_embed.batch import EmbeddingBatch
from lightning_embed.mining.rules import Rules

PAGE = (Path(__file__).parents[2] / "docs" / "coming_from.md").read_text(encoding="utf-8")
SENTENCE_TRANSFORMERS, FLAG_EMBEDDING, TEVATRON = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
B, D = 6, 8


def rows(text: str) -> list[tuple[str, str]]:
    """(there, here) of a section's tables."""
    found = [line[2:-2].split(" | ", 1) for line in text.splitlines() if line.startswith("| ") and " | " in line]
    return [(there, here) for there, here in found if "`" in there]


def section(title: str) -> list[tuple[str, str]]:
    return rows(re.split(r"^### ", SENTENCE_TRANSFORMERS.partition(f"### {title}\n")[2], flags=re.MULTILINE)[0])


LOSSES = dict(section("Losses"))


class Column(nn.Module):
    """Takes the vectors of a column from its features."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return features | {"sentence_embedding": features[self.key], "token_embeddings": features[self.key][:, None]}


class Model(nn.Sequential):
    """Stands in for a SentenceTransformer, or for the guide, as far as the losses look at it."""

    max_seq_length = 8

    def __init__(self, key: str) -> None:
        from tokenizers import Tokenizer, models
        from transformers import PreTrainedTokenizerFast

        super().__init__(Column(key))
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"w": 0}, unk_token="w")))

    def get_embedding_dimension(self) -> int:
        return D


def made(spec: dict[str, Any]) -> Any:
    settings = {
        k: made(v) if isinstance(v, dict) and "class_path" in v else v for k, v in spec.get("init_args", {}).items()
    }
    return getattr(le, spec["class_path"])(**settings)


def here(cell: str, batch: EmbeddingBatch) -> Tensor:
    """The weighted loss of a cell's YAML."""
    found = re.search(r"`(\{loss: .*?\})`", cell)
    assert found
    term = yaml.safe_load(found[1])
    return term.get("weight", 1.0) * made(term["loss"])(batch)


@pytest.fixture
def columns() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        role: F.normalize(torch.randn(B, D), dim=-1).requires_grad_() for role in ("anchor", "positive", "negative")
    }


def batch(columns: dict[str, Tensor], **more: Any) -> EmbeddingBatch:
    counts = torch.ones(B, dtype=torch.long) if "negative" in columns else None
    return EmbeddingBatch(columns, negative_counts=counts, source="toy", **more)


def agree(ours: Tensor, theirs: Tensor, columns: dict[str, Tensor], value: bool = True) -> None:
    found = []
    for loss in (ours, theirs):
        loss.backward()  # the cached losses know no other way
        found.append([vectors.grad for vectors in columns.values()])
        for vectors in columns.values():
            vectors.grad = None
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    if value:
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("there", LOSSES)
def test_a_loss_of_sentence_transformers_equals_its_row(there: str, columns: dict[str, Tensor]) -> None:
    from sentence_transformers.sentence_transformer import losses

    call = there[1 : there.rindex("`")]
    name = call.partition("(")[0]
    if (
        name in ("CoSENTLoss", "AnglELoss", "EmbedDistillLoss", "GlobalOrthogonalRegularizationLoss")
        or "of pairs" in there
    ):
        del columns["negative"]
    teacher = {role: F.normalize(torch.randn(B, D), dim=-1) for role in columns}
    scores = {role: torch.rand(B) for role in columns if role != "anchor"}
    labels = {
        "CoSENTLoss": scores["positive"],
        "AnglELoss": scores["positive"],
        "EmbedDistillLoss": torch.stack(list(teacher.values()), dim=1),
        "MarginMSELoss": scores["positive"] - scores.get("negative", 0),
        "DistillKLDivLoss": torch.stack(list(scores.values()), dim=1),
    }
    theirs = eval(call, vars(losses) | {"model": Model("student"), "guide": Model("teacher")})
    features = [
        {
            "student": columns[role],
            "teacher": teacher[role],
            "input_ids": torch.zeros(B, 1),
            "attention_mask": torch.ones(B, 1),
        }
        for role in columns
    ]
    value = theirs(features, labels.get(name, torch.zeros(B)))
    if isinstance(value, dict):
        value = torch.stack(list(value.values())).sum()
    agree(here(LOSSES[there], batch(columns, teacher=teacher, score=scores)), value, columns)


def grouped(columns: dict[str, Tensor]) -> Tensor:
    """Cosines of all queries and passages, in groups of one positive and its negatives, as FlagEmbedding and Tevatron order them."""
    passages = torch.stack([columns["positive"], columns["negative"]], dim=1).flatten(0, 1)
    return F.normalize(columns["anchor"], dim=-1) @ F.normalize(passages, dim=-1).T


@pytest.mark.parametrize(("text", "there"), [(FLAG_EMBEDDING, "`--normalize_embeddings"), (TEVATRON, "`--normalize ")])
def test_their_contrastive_loss_equals_its_row(text: str, there: str, columns: dict[str, Tensor]) -> None:
    (cell,) = [here for left, here in rows(text) if left.startswith(there)]
    theirs = F.cross_entropy(grouped(columns) / 0.02, torch.arange(B) * 2)
    agree(here(cell, batch(columns)), theirs, columns)


def test_tevatrons_distillation_equals_its_row(columns: dict[str, Tensor]) -> None:
    (cell,) = [here for left, here in rows(TEVATRON) if "distil" in left]
    scores = {"positive": torch.rand(B), "negative": torch.rand(B)}
    own = grouped(columns).view(B, B, 2)[torch.arange(B), torch.arange(B)]
    gold = (torch.stack(list(scores.values()), dim=1) / 0.02).softmax(dim=1)
    theirs = F.kl_div((own / 0.02).log_softmax(dim=1), gold, reduction="batchmean")
    agree(here(cell, batch(columns, score=scores)), theirs, columns)


def test_flag_embeddings_distillation_has_the_gradient_of_its_row(columns: dict[str, Tensor]) -> None:
    (cell,) = [here for left, here in rows(FLAG_EMBEDDING) if "kl_div" in left]
    scores = {"positive": torch.rand(B), "negative": torch.rand(B)}
    own = (grouped(columns) / 0.02).view(B, B, 2)[torch.arange(B), torch.arange(B)]
    targets = torch.stack(list(scores.values()), dim=1).softmax(dim=-1)
    theirs = -(own.log_softmax(dim=-1) * targets).sum(dim=-1).mean()
    agree(here(cell, batch(columns, score=scores)), theirs, columns, value=False)


def test_flag_embeddings_matryoshka_equals_its_row(columns: dict[str, Tensor]) -> None:
    (cell,) = [here for left, here in rows(FLAG_EMBEDDING) if "mrl" in left]
    short = [grouped({role: vectors[:, :k] for role, vectors in columns.items()}) for k in (8, 4)]
    theirs = sum(F.cross_entropy(scores / 0.02, torch.arange(B) * 2) for scores in short) / 2
    agree(here(cell, batch(columns)), theirs, columns)


def test_every_setting_that_the_page_names_exists() -> None:
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    sections = {
        "data": le.EmbeddingDataModule,
        "student": le.TextEncoder,
        "adapter": le.Adapter,
        "trainer": Trainer,
        "checkpoint": ModelCheckpoint,
        "last_checkpoint": le.LastCheckpoint,
        "report": le.Report,
    }
    named = re.findall(rf"`({'|'.join(sections)})\.(\w+)", PAGE)
    assert len(named) > 30
    assert [f"{part}.{name}" for part, name in named if name not in inspect.signature(sections[part]).parameters] == []
    options = re.findall(r"--(\w+)", "".join(here for _, here in rows(PAGE) if "`mine" in here))
    assert len(options) > 3
    assert set(options) <= {field.name for field in dataclasses.fields(Rules)}


def test_every_training_argument_of_the_page_is_one_of_sentence_transformers() -> None:
    from sentence_transformers import SentenceTransformerTrainingArguments

    fields = {field.name for field in dataclasses.fields(SentenceTransformerTrainingArguments)}
    named = [name for there, _ in section("Training arguments") for name in re.findall(r"`([a-z_\d]+)`", there)]
    assert len(named) > 20
    assert set(named) - fields == set()
