"""A checkpoint describes itself: what a script trained is loaded, exported, scored and averaged without a config.yaml."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
import yaml

import lightning_embed.losses as losses
from lightning_embed import (
    EmbeddingDataModule,
    EmbeddingModule,
    FrozenEncoder,
    LossTerm,
    Projection,
    Source,
    TextEncoder,
    UserError,
    __version__,
)
from lightning_embed.callbacks import trainer_defaults
from lightning_embed.checkpoints.averaging import average_checkpoints
from lightning_embed.checkpoints.rebuild import rebuild
from lightning_embed.checkpoints.settings import KEY
from lightning_embed.checkpoints.student import load_student
from lightning_embed.encoders.lora import Adapter
from lightning_embed.evaluation.of_run import teacher_of
from lightning_embed.losses import Distillation, EmbeddingLoss, InfoNCE, Matryoshka
from lightning_embed.schedulers import WarmupSchedule
from lightning_embed.tokenizer import Tokens
from lightning_embed.utils.described import construction
from tests.checkpoints.test_checkpoints import as_folder

TEXTS = ["w1 w2", "w3 w4 w5 w6", "w7"]
Make = Callable[..., EmbeddingModule]


class Scaled(TextEncoder):
    """A student with an argument of its own, whose vectors depend on it."""

    def __init__(self, model: str, scale: float, **settings: Any) -> None:
        super().__init__(model, **settings)
        self.factor = torch.linspace(1, scale, self.dim)

    def forward(self, tokens: Tokens) -> torch.Tensor:
        return super().forward(tokens) * self.factor


class OfFolders(EmbeddingModule):
    """A module that makes its own parts."""

    def __init__(self, folder: str, lr: float, pooling: str = "mean") -> None:
        self.lr = lr
        super().__init__(TextEncoder(folder, pooling), {"nce": LossTerm(InfoNCE())})  # type: ignore[arg-type]


class Halved(EmbeddingLoss):
    """A loss of a script."""

    def __init__(self, by: Any = 2) -> None:
        super().__init__()
        self.by = by

    def forward(self, batch: Any) -> torch.Tensor:
        return batch.student["anchor"].square().mean() / 2


def parts(student: Path, teacher: Path, /, **changed: Any) -> dict[str, Any]:
    """The arguments of a module with a bit of everything, the student not as its folder has it."""
    torch.manual_seed(0)
    nce = Matryoshka(InfoNCE(temperature=0.1, learnable_temperature=True), dims=(8, 16))
    made: dict[str, Any] = {
        "student": TextEncoder(str(student), "cls", {"query": "w5 "}, dim=24, dropout=0.0),
        "losses": {"distill": LossTerm(Distillation(), {0: 2.0, 2: 1.0}), "nce": LossTerm(nce, 0.5)},
        "teacher": FrozenEncoder(str(teacher), "mean", max_length=20),
        "projection": Projection(),
        "optimizer": partial(torch.optim.AdamW, lr=1e-2),
        "lr_scheduler": partial(WarmupSchedule, warmup_steps=2),
    }
    return made | changed


def fitted(module: EmbeddingModule, pairs: Path, folder: Path, steps: int = 3) -> Path:
    """Trains with a Trainer made by hand, and returns last.ckpt."""
    settings = trainer_defaults(folder, monitor=None) | {"logger": False}
    trainer = L.Trainer(
        **settings, max_steps=steps, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False
    )
    trainer.fit(module, EmbeddingDataModule([Source(str(pairs))], global_batch_size=8, num_workers=0))
    return folder / "checkpoints/last.ckpt"


@pytest.fixture(scope="module")
def script(
    student: Path, teacher: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[EmbeddingModule, Path]:
    """A module that a script has trained, and its checkpoint alone in a folder."""
    folder = tmp_path_factory.mktemp("script")
    module = EmbeddingModule(**parts(student, teacher))
    file = fitted(module, pairs, folder / "run")
    assert not list(folder.rglob("config.yaml"))
    return module, Path(shutil.move(file, folder / "alone.ckpt"))


def content(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(file, weights_only=True)
    return found


def changed(file: Path, to: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a checkpoint, changed."""
    found = content(file)
    change(found)
    to.parent.mkdir(parents=True, exist_ok=True)
    torch.save(found, to)
    return to


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_checkpoint_holds_version_class_and_arguments_as_plain_data(script: tuple[EmbeddingModule, Path]) -> None:
    module, file = script
    found = content(file)[KEY]
    assert found["version"] == __version__ and found["missing"] == {"student": {}, "model": {}}
    assert found["student"] == module.student.settings == found["model"]["init_args"]["student"]
    assert found["student"]["class_path"] == "lightning_embed.TextEncoder"
    assert {"pooling": "cls", "dim": 24, "prompts": {"query": "w5 "}}.items() <= found["student"]["init_args"].items()
    assert found["model"]["init_args"]["losses"]["distill"]["init_args"]["weight"] == {0: 2.0, 2: 1.0}
    assert yaml.safe_load(yaml.safe_dump(found)) == found


def test_the_module_is_loaded_as_it_was(script: tuple[EmbeddingModule, Path]) -> None:
    module, file = script
    loaded = EmbeddingModule.load_from_checkpoint(file)
    assert same(module, loaded) and construction(loaded) == construction(module)
    assert torch.equal(loaded.student.encode(TEXTS, "query"), module.student.encode(TEXTS, "query"))
    assert not loaded.student.random_init and isinstance(loaded.teacher, FrozenEncoder) and not loaded.teacher.loaded
    assert loaded.teacher.max_length == 20 and loaded.terms["distill"].weight == {0: 2.0, 2: 1.0}
    assert loaded.optimizer.keywords == {"lr": 1e-2} and loaded.lr_scheduler.func is WarmupSchedule  # type: ignore[union-attr]


def test_a_loaded_module_trains_on_with_its_projection(
    script: tuple[EmbeddingModule, Path], pairs: Path, tmp_path: Path
) -> None:
    loaded = EmbeddingModule.load_from_checkpoint(script[1], optimizer=partial(torch.optim.SGD, lr=0.0))
    fitted(loaded, pairs, tmp_path, steps=1)
    assert same(loaded, script[0])  # not fitted to the first texts again


def test_export_evaluate_and_average_read_it_where_there_is_no_configuration(
    script: tuple[EmbeddingModule, Path], tmp_path: Path
) -> None:
    from lightning_embed.evaluation.models import load_model
    from lightning_embed.export import export_model

    module, file = script
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    assert export_model([str(file)], str(tmp_path / "model"), texts=str(tmp_path / "texts.txt")) > 0.9999
    card = (tmp_path / "model/README.md").read_text()
    assert "Loss `nce`: Matryoshka, weight 0.5" in card and f"Started from `{Path(module.student.model).name}`" in card
    vectors = load_model(str(file)).embed(TEXTS, "query", None)
    assert torch.equal(torch.from_numpy(vectors), module.student.encode(TEXTS, "query"))
    average_checkpoints([str(file), str(shutil.copy(file, tmp_path / "two.ckpt"))], str(tmp_path / "mean.ckpt"))
    assert torch.equal(load_student(tmp_path / "mean.ckpt").encode(TEXTS), module.student.encode(TEXTS))


def test_checkpoints_of_other_students_are_not_averaged(script: tuple[EmbeddingModule, Path], tmp_path: Path) -> None:
    other = changed(script[1], tmp_path / "a.ckpt", lambda c: c[KEY]["student"]["init_args"].update(pooling="mean"))
    with pytest.raises(UserError, match=r"student.pooling is cls for .* and mean for"):
        average_checkpoints([str(script[1]), str(other)], str(tmp_path / "mean.ckpt"))


def test_arguments_given_to_load_from_checkpoint_count_more(script: tuple[EmbeddingModule, Path]) -> None:
    terms = {"distill": LossTerm(Distillation(), 7.0)}
    with pytest.raises(UserError, match="log_temperature"):  # of the loss that is not given: strict, as Lightning is
        EmbeddingModule.load_from_checkpoint(script[1], losses=terms)
    loaded = EmbeddingModule.load_from_checkpoint(script[1], losses=terms, optimizer=None, strict=False)
    assert loaded.terms["distill"].weight == 7.0 and list(loaded.terms) == ["distill"] and loaded.optimizer is None
    assert same(loaded.student, script[0].student)


def test_what_a_checkpoint_cannot_hold_is_noted_and_asked_for(
    student: Path, teacher: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terms = {"nce": LossTerm(InfoNCE()), "own": LossTerm(Halved(len))}
    adam = {"optimizer": lambda groups: torch.optim.Adam(groups, lr=1e-3)}
    file = fitted(EmbeddingModule(**parts(student, teacher, losses=terms, **adam)), pairs, tmp_path, 1)
    said = capsys.readouterr().err
    assert "do not hold model.losses.own.loss.by (a function)" in said and "model.optimizer (a function)" in said
    assert load_student(file).dim == 24
    with pytest.raises(
        UserError, match=r"last.ckpt: it does not hold losses.own.loss.by .*load_from_checkpoint\(..., losses"
    ):
        EmbeddingModule.load_from_checkpoint(file)
    with pytest.raises(UserError, match=r"it does not hold optimizer .*load_from_checkpoint\(..., optimizer=...\)"):
        EmbeddingModule.load_from_checkpoint(file, losses=terms)
    assert EmbeddingModule.load_from_checkpoint(file, losses=terms, **adam).terms == terms


def test_a_student_with_arguments_of_its_own_is_rebuilt(
    student: Path, teacher: Path, pairs: Path, tmp_path: Path
) -> None:
    encoder = Scaled(str(student), 3.0, pooling="mean", dropout=0.0)
    module = EmbeddingModule(**parts(student, teacher, student=encoder))
    file = fitted(module, pairs, tmp_path, 1)
    assert content(file)[KEY]["student"]["class_path"] == f"{__name__}.Scaled"
    for loaded in (load_student(file), EmbeddingModule.load_from_checkpoint(file).student):
        assert isinstance(loaded, Scaled) and not loaded.random_init
        assert torch.equal(loaded.encode(TEXTS), encoder.encode(TEXTS))


def test_a_student_of_a_class_that_cannot_be_imported_is_refused_by_its_name(
    student: Path, teacher: Path, pairs: Path, tmp_path: Path
) -> None:
    class Own(TextEncoder):
        pass

    file = fitted(EmbeddingModule(**parts(student, teacher, student=Own(str(student), dim=24))), pairs, tmp_path, 1)
    with pytest.raises(
        UserError, match=r"does not hold the class .*Own, which cannot be imported.*config_of_checkpoint"
    ):
        load_student(file)
    with pytest.raises(UserError, match=r"does not hold student .*Own, .*\(..., student=...\)"):
        EmbeddingModule.load_from_checkpoint(file)
    assert isinstance(EmbeddingModule.load_from_checkpoint(file, student=Own(str(student), dim=24)).student, Own)


def test_a_module_that_makes_its_own_parts_is_rebuilt(student: Path, pairs: Path, tmp_path: Path) -> None:
    module = OfFolders(str(student), 0.5, "cls")
    file = fitted(module, pairs, tmp_path, 1)
    loaded = EmbeddingModule.load_from_checkpoint(file)
    assert isinstance(loaded, OfFolders) and loaded.lr == 0.5 and same(loaded, module)
    assert OfFolders.load_from_checkpoint(file, lr=0.1).lr == 0.1
    assert load_student(file).pooling == "cls"


def test_an_adapter_is_loaded_onto_its_base(student: Path, pairs: Path, tmp_path: Path) -> None:
    encoder = TextEncoder(str(student), adapter=Adapter(4, dropout=0.0))
    module = EmbeddingModule(encoder, {"nce": LossTerm(InfoNCE())}, optimizer=partial(torch.optim.AdamW, lr=0.1))
    file = fitted(module, pairs, tmp_path)
    for loaded in (load_student(file), EmbeddingModule.load_from_checkpoint(file).student):
        assert loaded.adapter == Adapter(4, dropout=0.0)
        assert torch.equal(loaded.encode(TEXTS), encoder.encode(TEXTS))


def test_a_sharded_checkpoint_is_loaded_too(script: tuple[EmbeddingModule, Path], tmp_path: Path) -> None:
    folder = as_folder(Path(shutil.copy(script[1], tmp_path / "sharded.ckpt")))
    assert content(folder / "meta.pt")[KEY] == content(script[1])[KEY]
    assert same(EmbeddingModule.load_from_checkpoint(folder), script[0])
    assert torch.equal(load_student(folder).encode(TEXTS), script[0].student.encode(TEXTS))


def test_a_checkpoint_of_an_earlier_version_is_rebuilt_from_its_runs_configuration(
    script: tuple[EmbeddingModule, Path], tmp_path: Path
) -> None:
    module, file = script
    old = changed(file, tmp_path / "run/checkpoints/old.ckpt", lambda c: c.pop(KEY))
    with pytest.raises(
        UserError, match=r"an earlier version wrote it.*config.yaml was expected in .*config_of_checkpoint"
    ):
        load_student(old)
    with pytest.raises(UserError, match=r"an earlier version wrote it.*give hparams_file=CONFIG, or student="):
        EmbeddingModule.load_from_checkpoint(old)
    config = tmp_path / "run/config.yaml"
    config.write_text(yaml.safe_dump({"model": construction(module).settings}))
    assert torch.equal(load_student(old).encode(TEXTS), module.student.encode(TEXTS))
    assert same(EmbeddingModule.load_from_checkpoint(old), module)
    elsewhere = shutil.move(config, tmp_path / "config.yaml")
    assert same(EmbeddingModule.load_from_checkpoint(old, hparams_file=elsewhere, optimizer=None), module)


def test_a_configuration_that_is_named_counts_more_and_one_that_is_found_less(
    script: tuple[EmbeddingModule, Path], tmp_path: Path
) -> None:
    file = Path(shutil.copy(script[1], tmp_path / "a.ckpt"))
    arguments = script[0].student.settings["init_args"] | {"pooling": "mean"}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"model": {"init_args": {"student": arguments}}}))
    assert load_student(file).pooling == "cls" and load_student(file, config).pooling == "mean"


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("os.system", "expected one of lightning_embed"),
        ("torch.nn.Linear", "expected one of lightning_embed"),
        ("lightning_embed.Distillation", "expected a TextEncoder as its student"),
        ("nowhere.Encoder", "class nowhere.Encoder: a checkpoint names it"),
        ("lightning_embed.Nothing", "class lightning_embed.Nothing cannot be imported"),
    ],
)
def test_no_class_of_another_kind_is_made(
    named: str, said: str, script: tuple[EmbeddingModule, Path], tmp_path: Path
) -> None:
    settings = {"class_path": named, "init_args": {}}
    file = changed(script[1], tmp_path / "a.ckpt", lambda c: c[KEY].update(student=settings))
    with pytest.raises(UserError, match=said):
        load_student(file)


def test_arguments_that_a_class_does_not_take_are_named(script: tuple[EmbeddingModule, Path], tmp_path: Path) -> None:
    file = changed(script[1], tmp_path / "a.ckpt", lambda c: c[KEY]["student"]["init_args"].update(lairs=[0]))
    with pytest.raises(UserError, match=r"TextEncoder does not take the arguments it was saved with.*'lairs'"):
        load_student(file)


@pytest.mark.parametrize(
    "name",
    [n for n in losses.__all__ if isinstance(c := getattr(losses, n), type) and issubclass(c, EmbeddingLoss) and c is not EmbeddingLoss],
)  # fmt: skip
def test_every_loss_is_rebuilt_as_it_was(name: str) -> None:
    kind: Any = getattr(losses, name)
    wrapped = {"Matryoshka": ((Halved(3), [4, 8]), {"weights": [1, 2]}), "Quantized": ((Halved(3), "binary"), {})}
    arguments, named = wrapped.get(name, ((), {}))
    made = kind(*arguments, **named)
    again = rebuild(json.loads(json.dumps(construction(made).settings)))
    assert construction(again) == construction(made) and str(vars(again)) == str(vars(made))


def test_relative_paths_are_found_from_any_folder_and_after_a_move(
    student: Path, teacher: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder, name in ((student, "models/s"), (teacher, "models/t")):
        shutil.copytree(folder, home / name)
    elsewhere.mkdir()
    monkeypatch.chdir(home)
    module = EmbeddingModule(**parts(Path("models/s"), Path("models/t")))
    file = fitted(module, pairs, home / "run")
    assert content(file)[KEY]["student"]["init_args"]["model"] == "models/s"
    wanted = module.student.encode(TEXTS)
    monkeypatch.chdir(elsewhere)
    assert torch.equal(load_student(file).encode(TEXTS), wanted)
    assert torch.equal(EmbeddingModule.load_from_checkpoint(file).student.encode(TEXTS), wanted)
    own_teacher = teacher_of(file)
    assert isinstance(own_teacher, FrozenEncoder) and own_teacher.folder == home / "models/t"
    moved = home.rename(tmp_path / "moved")
    monkeypatch.chdir(moved)
    assert torch.equal(load_student(moved / file.relative_to(home)).encode(TEXTS), wanted)
