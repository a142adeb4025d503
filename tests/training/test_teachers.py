"""Several teachers in one run: each loss learns from its own, by its own projection, wherever and however the run is done."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from lightning_embed import (
    Distillation,
    EmbeddingDataModule,
    EmbeddingLoss,
    EmbeddingModule,
    InfoNCE,
    LossTerm,
    Projection,
    UserError,
    fill_store,
    import_vectors,
)
from lightning_embed.batch import EmbeddingBatch, TokenBatch
from lightning_embed.datamodules.sources import Source
from lightning_embed.encoders.teacher import FrozenEncoder, StoredTeacher
from lightning_embed.encoders.text_encoder import TextEncoder
from tests.toys import toy_folder, toy_pairs


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Losses(L.Callback):
    """Keeps the loss of each step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.values.append(float(outputs["loss"]))


def fit(module: EmbeddingModule, data: EmbeddingDataModule, steps: int = 3) -> list[float]:
    """The losses of a short run."""
    losses = Losses()
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps, callbacks=[losses], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, data)
    return losses.values


def data_of(*sources: Source) -> EmbeddingDataModule:
    return EmbeddingDataModule(list(sources), global_batch_size=8, num_workers=0)


def guided() -> dict[str, EmbeddingLoss]:
    """Losses that take a teacher: one alone on each text, and one that sees all rows."""
    return {"distill": Distillation(), "nce": InfoNCE(temperature=0.1, teacher_margin=0.1)}


def halves(student: Path, teacher: Path, start: Path, trainable: bool) -> list[EmbeddingModule]:
    """A module with a teacher, and one with the same teacher under two names, of half the weight each."""

    def make(**parts: Any) -> EmbeddingModule:
        return EmbeddingModule(TextEncoder(str(student), dropout=0.0), **parts)

    def projection() -> Projection:
        return Projection(trainable=trainable, weights=str(start))

    two = {f"{name} {t}": LossTerm(loss, 0.5, teacher=t) for t in "ab" for name, loss in guided().items()}
    return [
        make(losses=guided(), teacher=FrozenEncoder(str(teacher)), projection=projection()),
        make(
            losses=two,
            teacher={name: FrozenEncoder(str(teacher)) for name in "ab"},
            projection={name: projection() for name in "ab"},
        ),
    ]


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """Weights of a projection from 32 to 48."""
    from safetensors.torch import save_file

    torch.manual_seed(3)
    save_file({"weight": torch.randn(48, 32), "bias": torch.randn(48)}, tmp_path / "psi.safetensors")
    return tmp_path / "psi.safetensors"


def test_a_teacher_under_two_names_of_half_the_weight_gives_the_gradients_of_the_teacher_alone(
    student: Path, teacher: Path, start: Path
) -> None:
    texts = [list(texts) for texts in zip(*(row.values() for row in toy_pairs(8)), strict=True)]
    found = []
    for module in halves(student, teacher, start, trainable=True):
        tokens = {role: module.student.tokenizer(t)[0] for role, t in zip(("anchor", "positive"), texts, strict=True)}
        teachers = {name: tokens for name in module.teachers if name}
        batch = TokenBatch(tokens, {} if teachers else tokens, tokens_of=teachers)
        losses = {name: loss for name, (loss, _) in module.active(batch).items()}
        values = module.compute_losses(module.encode(batch, losses.values()), losses)
        loss = torch.stack([module.weight_of(name) * value for name, value in values.items()]).sum()
        loss.backward()
        found.append((loss, module))
    (one, alone), (other, both) = found
    torch.testing.assert_close(other, one)
    for own, its in zip(alone.student.parameters(), both.student.parameters(), strict=True):
        torch.testing.assert_close(its.grad, own.grad, rtol=1e-5, atol=1e-7)
    whole = alone.projections[""].weight.grad
    assert whole is not None
    for projection in both.projections.values():
        torch.testing.assert_close(projection.weight.grad, whole / 2)


def test_a_teacher_under_two_names_of_half_the_weight_trains_as_the_teacher_alone(
    student: Path, teacher: Path, start: Path, pairs: Path
) -> None:
    one, other = (
        fit(module, data_of(Source(str(pairs)))) for module in halves(student, teacher, start, trainable=False)
    )
    assert len(one) == 3 and one[2] != one[0]
    assert other == pytest.approx(one, rel=1e-5)


class Sees(EmbeddingLoss):
    """Compares the teacher's vectors, its own and the gathered ones, with those that were imported."""

    requires = frozenset({"anchor", "positive", "teacher"})

    def __init__(self, expected: Tensor, projected: bool) -> None:
        super().__init__()
        self.expected, self.projected = expected, projected
        self.sources: list[str] = []

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        self.sources.append(batch.source)
        assert (batch.projection is not None) == self.projected
        for role in ("anchor", "positive"):
            vectors = batch.teacher[role]
            assert vectors.shape == (len(batch), len(self.expected))
            torch.testing.assert_close(vectors, self.expected.expand_as(vectors), rtol=0, atol=1e-3)
            assert torch.equal(batch.gather("teacher", role).rows, vectors)
            assert batch.gather("student", role).rows.shape == (len(batch), 32)
        if batch.projection is not None:
            assert batch.projection.weight.shape == (len(self.expected), 32)
        return batch.student["anchor"].square().mean()


def given(folder: Path, name: str, dim: int, rows: list[dict[str, str]]) -> tuple[StoredTeacher, Tensor]:
    """A teacher whose vectors are all alike, of the texts of some rows."""
    texts = sorted({text for row in rows for text in row.values()})
    vector = np.arange(1, dim + 1, dtype=np.float32)
    columns = {"text": texts, "vector": [vector.tolist()] * len(texts)}
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    import_vectors(folder / f"{name}.parquet", name)
    return StoredTeacher(name, dim), torch.from_numpy(vector / np.linalg.norm(vector))


def written(file: Path, rows: list[dict[str, str]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_each_loss_sees_the_vectors_and_the_projection_of_its_own_teacher(
    student: Path, pairs: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    (small, three), (large, five) = given(tmp_path, "small", 3, rows), given(tmp_path, "large", 5, rows)
    terms = {
        "first": LossTerm(Sees(three, True), teacher="small"),
        "second": LossTerm(Sees(five, False), teacher="large"),
        "third": LossTerm(Sees(five, False), teacher="large"),
    }
    module = EmbeddingModule(
        TextEncoder(str(student)), terms, {"small": small, "large": large}, {"small": Projection(start="random")}
    )
    fit(module, data_of(Source(str(pairs))))
    assert all(len(term.loss.sources) == 3 for term in terms.values())  # type: ignore[union-attr]


def test_a_source_that_names_teachers_is_for_their_losses_alone(
    student: Path, teacher: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stored teacher has vectors of no other source, and the other one must not run for what it is not asked for."""
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    some, three = given(tmp_path, "some", 3, rows[:48])
    seen, nce = Sees(three, False), InfoNCE()
    terms = {"seen": LossTerm(seen, teacher="stored"), "distill": LossTerm(Distillation(), teacher="run"), "nce": nce}
    teachers: dict[str, Any] = {"stored": some, "run": FrozenEncoder(str(teacher))}
    calls: list[int] = []
    teachers["run"].register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    module = EmbeddingModule(TextEncoder(str(student)), terms, teachers, {"run": Projection(start="random")})
    active: dict[str, set[str]] = {}
    compute = EmbeddingModule.compute_losses

    def noting(self: EmbeddingModule, batch: EmbeddingBatch, losses: Any) -> Any:
        active.setdefault(batch.source, set()).update(losses)
        return compute(self, batch, losses)

    monkeypatch.setattr(EmbeddingModule, "compute_losses", noting)
    parts = {"stored": rows[:48], "run": rows[48:], "none": rows[48:]}
    sources = [
        Source(written(tmp_path / f"{name}.jsonl", part), teachers=[] if name == "none" else [name])
        for name, part in parts.items()
    ]
    fit(module, data_of(*sources), steps=18)
    assert active == {"stored": {"seen", "nce"}, "run": {"distill", "nce"}, "none": {"nce"}}
    assert set(seen.sources) == {"stored"} and calls == [16] * 6


def test_a_lone_teacher_leaves_out_a_source_that_names_none(student: Path, teacher: Path, pairs: Path) -> None:
    frozen = FrozenEncoder(str(teacher))
    losses = {"distill": LossTerm(Distillation()), "nce": LossTerm(InfoNCE())}
    module = EmbeddingModule(TextEncoder(str(student)), losses, frozen, Projection())
    fit(module, data_of(Source(str(pairs), teachers=[])))
    assert not frozen.loaded


def two(student: Path, folder: Path) -> EmbeddingModule:
    """A student of two teachers of different sizes."""
    torch.manual_seed(4)
    return EmbeddingModule(
        TextEncoder(str(student), dropout=0.0),
        {"a": LossTerm(Distillation(), teacher="a"), "b": LossTerm(Distillation(), 2.0, teacher="b")},
        {name: FrozenEncoder(str(folder / name)) for name in "ab"},
        {"a": Projection(), "b": Projection(direction="teacher_to_student")},
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate("ab", start=5):
        toy_folder(folder / name, hidden=32 + 8 * seed, seed=seed)
    return folder


def test_cache_stores_the_vectors_of_all_teachers_and_fit_runs_none(
    student: Path, models: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    online = fit(two(student, models), data_of(Source(str(pairs))))
    fill_store(two(student, models), data_of(Source(str(pairs))))
    capsys.readouterr()
    module = two(student, models)
    assert fit(module, data_of(Source(str(pairs)))) == pytest.approx(online, rel=1e-3)
    assert not any(one.loaded for one in module.teachers.values() if isinstance(one, FrozenEncoder))
    assert [line.split(" are")[0] for line in capsys.readouterr().out.splitlines() if "store" in line] == [
        f"teacher store: {name}: 192 of 192 texts" for name in "ab"
    ]


def test_cache_reads_only_the_sources_that_name_a_teacher(
    student: Path, models: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = written(
        tmp_path / "other.jsonl", [{"anchor": f"w1 w1 w1 w{i} w3", "positive": f"w2 w2 w2 w{i} w3"} for i in range(8)]
    )
    fill_store(two(student, models), data_of(Source(str(pairs), teachers=["b"]), Source(other)))
    out = capsys.readouterr().out
    assert "teacher store: a: 16 texts, 0 of them" in out and "teacher store: b: 208 texts, 0 of them" in out


def test_each_projection_is_fitted_to_its_own_teacher_and_saved_under_its_name(
    student: Path, models: Path, pairs: Path
) -> None:
    """On a source that is for another teacher alone there is nothing to fit to."""
    module, data = two(student, models), data_of(Source(str(pairs)), Source(str(pairs), name="other", teachers=["b"]))
    before = {name: value.clone() for name, value in module.state_dict().items() if name.startswith("projection.")}
    assert list(before) == [f"projection.{name}.{part}" for name in "ab" for part in ("weight", "bias")]
    module.optimizer = lambda groups: torch.optim.SGD(groups, lr=0.0)
    fit(module, data, steps=1)
    for name, psi in module.projections.items():
        w = psi.weight.detach().double()
        assert not torch.allclose(psi.weight, before[f"projection.{name}.weight"], atol=1e-2)
        small = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
        torch.testing.assert_close(small, torch.eye(len(small)).double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        (
            {"losses": {"d": Distillation()}},
            r"'d' \(Distillation\) takes a teacher's vectors, .* \(a, b\): give it teacher: a",
        ),
        ({"losses": {"d": LossTerm(Distillation(), teacher="c")}}, "no teacher 'c'; the teachers are a, b"),
        ({"losses": {"n": LossTerm(InfoNCE(), teacher="a")}}, r"'n' \(InfoNCE\) takes no teacher's vectors: leave"),
        ({"projection": lambda: {"c": Projection()}}, "projection: there is no teacher 'c'; the teachers are a, b"),
        ({"projection": Projection}, "projection: expected a mapping, as there are several teachers"),
        ({"teacher": lambda one: one}, "loss 'd' names teacher a, and model.teacher is no mapping of names"),
        ({"teacher": lambda one: {}}, "expected at least one teacher in the mapping"),
        ({"teacher": lambda one: {"a": one, "max_length": one}}, "teacher: 'max_length' cannot be a teacher's name"),
        ({"teacher": lambda one: {"a": one, "a.b": one}}, r"'a\.b' cannot be a teacher's name: expected letters"),
        ({"teacher": lambda one: {"a": one, "keys": one}}, "'keys' cannot be a teacher's name"),
    ],
)
def test_wrong_names_are_refused_with_those_that_there_are(
    student: Path, teacher: Path, parts: dict[str, Any], what: str
) -> None:
    frozen = FrozenEncoder(str(teacher))
    several: Callable[[FrozenEncoder], Any] = parts.pop("teacher", lambda one: {"a": one, "b": one})
    projection = parts.pop("projection", lambda: None)
    losses = {"losses": {"d": LossTerm(Distillation(), teacher="a")}} | parts
    with pytest.raises(UserError, match=what):
        EmbeddingModule(TextEncoder(str(student)), teacher=several(frozen), projection=projection(), **losses)


def test_a_lone_teacher_takes_one_projection(student: Path, teacher: Path) -> None:
    losses = {"d": Distillation()}
    with pytest.raises(UserError, match=r"projection: expected a single one for a single teacher, got a mapping of a"):
        EmbeddingModule(TextEncoder(str(student)), losses, FrozenEncoder(str(teacher)), {"a": Projection()})


@pytest.mark.parametrize(("named", "known"), [(["c"], "the teachers are a, b"), ("a", "expected a list of names")])
def test_a_source_that_names_another_teacher_is_refused(
    student: Path, models: Path, pairs: Path, named: Any, known: str
) -> None:
    with pytest.raises(UserError, match=known):
        fit(two(student, models), data_of(Source(str(pairs), teachers=named)))


def test_a_source_that_no_loss_is_for_is_refused(student: Path, models: Path, pairs: Path) -> None:
    with pytest.raises(
        UserError, match=r"\(teachers: \[\]\), and no loss is for such batches: correct `when` or `teachers`"
    ):
        fit(two(student, models), data_of(Source(str(pairs), teachers=[])))
