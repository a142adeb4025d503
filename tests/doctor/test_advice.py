"""What is legal but dubious is told, with what to do."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.doctor.jobs import found, put, warned, words
from tests.toys import toy_pairs

SOURCES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "cut": ([{"anchor": words(3, i), "positive": words(80, i)} for i in range(64)],
            "100 % of its positive texts are longer than 66 tokens and are cut"),
    "repeated-rows": (toy_pairs(32) * 2, "32 of 64 rows repeat an earlier row: take them out"),
    "repeated-anchors": ([{"anchor": words(3, i % 8), "positive": words(9, 3 * i)} for i in range(64)],
                         "56 of 64 rows repeat an earlier row's anchor: make one row of them"),
    "own-positive": ([{"anchor": words(5, i), "positive": words(5, i)} for i in range(64)],
                     "64 of 64 rows have the anchor as the positive"),
    "own-negative": ([{"anchor": words(5, i), "positive": words(6, i), "negative": words(6, i)} for i in range(64)],
                     "64 of 64 rows name their own anchor or positive as a negative"),
    "small": (toy_pairs(12), "it has 12 rows, fewer than a batch of 16"),
    "shared": ([{"anchor": words(3, i), "positive": words(5, i % 20)} for i in range(64)], "set data.no_duplicates: true"),
    "tiny-classes": ([{"text": words(4, 3 * i), "label": i // 2} for i in range(64)],
                     "32 of 32 labels have fewer than 5 rows"),
    "two-classes": ([{"text": words(4, 3 * i), "label": int(i % 4 == 0)} for i in range(64)],
                    "documents as negatives, the others are of its text, label or document"),
}  # fmt: skip


def test_each_dubious_source_is_named_with_what_to_do(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["data"]["init_args"]["train"] = [
        {"path": str(put(tmp_path / f"{name}.jsonl", rows)), "negatives": 0 if name == "two-classes" else None}
        for name, (rows, _) in SOURCES.items()
    ]
    warnings = warned(job, tmp_path, capsys)
    for name, (_, expected) in SOURCES.items():
        assert len([line for line in warnings if f"source '{name}'" in line and expected in line]) == 1, warnings


def _folder_with_prompts(student: Path, folder: Path) -> str:
    folder.mkdir()
    for file in student.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Transformer", "path": ""}]))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"search_query": "w1 "}}))
    return str(folder)


JOBS: dict[str, tuple[dict[str, Any], str]] = {
    "one row a batch": ({"global_batch_size": 1}, "source 'rows': some anchors see no negative at all"),
    "a source too late": (
        {"mixture": "weight", "max_steps": 1},
        "source 'second': the run ends before its first batch",
    ),
    "a long run": ({"max_steps": 400}, "so the data is read 25 times: lower max_steps"),
    "a short run": ({"max_steps": 1}, "an epoch has 16 steps, so 6.2 % of the data is read"),
    "a small budget": ({"max_tokens": 32}, "model.student: max_tokens 32 is less than max_length 66"),
    "no prompts": ({"prompts": True}, "model.student: its folder names prompts (search_query), but its texts get none"),
    "little memory": ({"memory": 1000}, "the longest batch needs about"),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_dubious_job_is_told_what_to_do(
    name: str,
    job: dict[str, Any],
    student: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made, expected = JOBS[name]
    file = str(put(tmp_path / "rows.jsonl", toy_pairs(128)))
    sources = [{"path": file}, {"path": file, "name": "second", "weight": 1e-9 if "mixture" in made else 1.0}]
    data = {key: made[key] for key in ("global_batch_size", "mixture") if key in made}
    job["data"]["init_args"] |= {"train": sources, **data}
    job["trainer"]["max_steps"] = made.get("max_steps", 16)
    job["model"]["init_args"]["student"] |= {"max_tokens": made.get("max_tokens", 16384)}
    if "prompts" in made:
        job["model"]["init_args"]["student"]["model"] = _folder_with_prompts(student, tmp_path / "prompted")
    if "memory" in made:
        monkeypatch.setattr("lightning_embed.doctor.run.available", lambda on_gpu: made["memory"])
    warnings = warned(job, tmp_path, capsys)
    assert len([line for line in warnings if expected in line]) == 1, warnings


def test_what_would_make_a_job_fit_is_told_with_what_it_comes_to(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_embed.doctor.run.available", lambda on_gpu: 1000)
    job["data"]["init_args"]["train"] = [{"path": str(put(tmp_path / "rows.jsonl", toy_pairs(128)))}]
    job["model"]["init_args"]["student"]["max_tokens"] = 16
    ddp = found(job, tmp_path, "--trainer.devices", "4", "--trainer.strategy", "ddp")
    assert ddp["layout"] == "ddp on 4 devices"
    ways = dict(ddp["memory_changes"])
    assert {"trainer.strategy: fsdp2", "student.checkpoint_chunks: true", "student.checkpoint_layers: true"} <= set(
        ways
    )
    assert all(total < sum(ddp["memory"].values()) for total in ways.values())
    (warning,) = [line for line in ddp["warnings"] if "the longest batch needs about" in line]
    assert "trainer.strategy: fsdp2 (" in warning and "ddp on 4 devices" in warning
    fsdp2 = found(job, tmp_path, "--trainer.devices", "4", "--trainer.strategy", "fsdp2")
    assert sum(fsdp2["memory"].values()) == ways["trainer.strategy: fsdp2"]
    job["trainer"] |= {
        "strategy": {"class_path": "lightning_embed.training.fsdp2.FSDP2", "init_args": {"replicate": 2}}
    }
    assert found(job, tmp_path, "--trainer.devices", "4")["layout"] == "fsdp2 on 4 devices, replicate 2 x shard 2"
