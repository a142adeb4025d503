"""BEIR folders that are held out: queries are ranked among the whole corpus, as `evaluate` and trec_eval do it."""

import json
import random
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from lightning_embed import EmbeddingDataModule, Source
from lightning_embed.batch import TokenBatch, Tokens
from lightning_embed.evaluation.metrics.retrieval import Retrieval
from tests.cli.test_fit import config, run
from tests.evaluation.test_evaluate import cells, evaluate, lines, words
from tests.forks import run_ranks

DOCUMENTS, QUERIES = 70, 12
METRICS = ("ndcg@10", "ndcg@3", "mrr@10", "recall@1", "recall@10")
QRELS = {q: {d: 1 + (q + d) % 3 for d in {q, (7 * q + 3) % 50, (5 * q) % 50}} for q in range(QUERIES)}


def corpus(folder: Path, split: str = "train") -> Path:
    """Queries with one to three relevant documents, some judged 0, and 20 documents or more that no query is judged for."""
    documents = [{"_id": f"d{i}", "title": f"w{i}", "text": words(i, 8)} for i in range(DOCUMENTS)]
    asked = [
        {"_id": f"q{q}", "text": " ".join(f"{documents[d]['text']}".split()[0] for d in ds)} for q, ds in QRELS.items()
    ]
    lines(folder / "corpus.jsonl", documents)
    lines(folder / "queries.jsonl", asked)
    judged = [f"q{q}\td{d}\t{grade}\n" for q, ds in QRELS.items() for d, grade in (ds | {60: 0}).items()]
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    return folder


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    job = config(teacher, student, pairs, tmp_path / "run")
    folder = [{"path": str(corpus(tmp_path / "beir"))}]
    job["data"]["init_args"] |= {"validation": folder, "test": folder, "eval_batch_size": 16}
    return job


def test_a_held_out_beir_folder_scores_what_evaluate_says(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(job, tmp_path, "--report.dims", "[32]", "--trainer.max_steps", "2")
    others = DOCUMENTS - len({d for ds in QRELS.values() for d in ds})
    assert f"among the relevant documents and all {others} others of its corpus" in capsys.readouterr().err
    logged = pandas.read_csv(tmp_path / "run/csv/version_0/metrics.csv")["val/ndcg@10"].dropna().iloc[-1]
    report = json.loads((tmp_path / "run/report.json").read_text())
    task = f"beir=retrieval:{tmp_path / 'beir'},train"
    expected = cells(evaluate(tmp_path, tmp_path / "run/model", "--tasks", task))[32, "float32"]["beir"]
    assert logged == pytest.approx(expected, abs=1e-4)
    for model in report["models"][1:]:
        assert model["name"] == "student before" or cells({"models": [model]})[32, "float32"][
            "ndcg@10"
        ] == pytest.approx(expected, abs=1e-4)
    assert report["models"][0]["name"] == "teacher" and 0 < report["models"][0]["grid"][0]["scores"]["ndcg@10"] < 1


def test_doctor_takes_several_judgements_of_a_query_for_no_repeats(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(job, tmp_path, command="doctor")
    said = capsys.readouterr().out
    assert "validation source 'beir': 35 rows" in said and "repeat an earlier" not in said


def test_training_from_a_beir_folder_reads_queries_alone(tmp_path: Path) -> None:
    (rows,) = EmbeddingDataModule(corpus(tmp_path / "beir")).rows("train")
    assert (
        len(rows) == QUERIES
        and rows.roles == {"anchor", "positive"}
        and rows.given.columns.keys()
        == {
            "keys",
            "negative_counts",
        }
    )


def test_of_a_large_corpus_a_sample_is_ranked_and_a_note_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = corpus(tmp_path / "beir")
    pairs, others = EmbeddingDataModule(validation=Source(folder, corpus=5, name="five")).rows("validation")
    assert len(pairs) == sum(map(len, QRELS.values())) and len(others) == 5
    assert "'five': its queries are ranked among the relevant documents and 5 of the" in capsys.readouterr().err
    lines(folder / "corpus.jsonl", [json.loads(line) for line in (folder / "corpus.jsonl").open()][::-1])
    _, again = EmbeddingDataModule(validation=Source(folder, corpus=5)).rows("validation")
    assert sorted(again.take(range(5))["positive"]) == sorted(others.take(range(5))["positive"])
    assert len(EmbeddingDataModule(validation=Source(folder, corpus=0)).rows("validation")) == 1


def test_a_corpus_of_relevant_documents_alone_has_no_others(tmp_path: Path) -> None:
    lines(tmp_path / "b/corpus.jsonl", [{"_id": "d", "text": "w1"}])
    lines(tmp_path / "b/queries.jsonl", [{"_id": "q", "text": "w2"}])
    (tmp_path / "b/qrels").mkdir()
    (tmp_path / "b/qrels/train.tsv").write_text("q\td\t1\n")
    (rows,) = EmbeddingDataModule(test=tmp_path / "b").rows("test")
    assert rows.take([0])["positive"] == ["w1"]


def vectors() -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(0)
    documents = torch.randn(DOCUMENTS, 16, generator=made)
    return torch.stack([sum(documents[d] for d in ds) for ds in QRELS.values()]) + torch.randn(
        QUERIES, 16, generator=made
    ), documents


def filled(share: slice = slice(None)) -> Retrieval:
    """The metric with some of the judgements, and some of the documents that have none."""
    queries, documents = vectors()
    tokens = Tokens(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    metric = Retrieval(METRICS)
    judged = [(q, d, grade) for q, ds in QRELS.items() for d, grade in ds.items()]
    random.Random(0).shuffle(judged)
    for q, d, grade in judged[share]:
        keys = {"anchor": torch.tensor([100 + q]), "positive": torch.tensor([d * 37 % 101])}
        batch = TokenBatch({"anchor": tokens, "positive": tokens}, keys=keys, grade=torch.tensor([float(grade)]))
        metric.add({"anchor": queries[[q]], "positive": documents[[d]]}, batch)
    alone = [d for d in range(DOCUMENTS) if all(d not in ds for ds in QRELS.values())][share]
    keys = {"positive": torch.tensor(alone, dtype=torch.long) * 37 % 101}
    metric.add({"positive": documents[alone]}, TokenBatch({"positive": tokens}, keys=keys))
    return metric


def test_the_scores_are_those_of_trec_eval() -> None:
    import pytrec_eval

    queries, documents = (torch.nn.functional.normalize(x, dim=-1) for x in vectors())
    found = {
        f"q{q}": {f"d{d}": float(score) for d, score in enumerate(row)} for q, row in enumerate(queries @ documents.T)
    }
    qrels = {f"q{q}": {f"d{d}": grade for d, grade in ds.items()} for q, ds in QRELS.items()}
    measures = {"ndcg_cut.3,10", "recall.1,10", "recip_rank"}
    rows = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(found).values()
    names = {"ndcg@10": "ndcg_cut_10", "ndcg@3": "ndcg_cut_3", "recall@1": "recall_1", "recall@10": "recall_10"}
    expected = {name: sum(row[theirs] for row in rows) / QUERIES for name, theirs in names.items()}
    expected["mrr@10"] = sum(row["recip_rank"] * (row["recip_rank"] >= 0.1) for row in rows) / QUERIES
    assert filled().compute() == pytest.approx(expected, abs=1e-6)
    assert 0.1 < expected["recall@1"] < expected["ndcg@10"] < 1


def worker(rank: int, store: str, out: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    got = {}
    for name, shares in {"ragged": (slice(0, None, 3), slice(1, None, 3)), "empty": (slice(None), slice(0, 0))}.items():
        metric = filled(shares[rank])
        if name == "ragged":
            for part in filled(slice(2, None, 3))._defaults if rank else ():
                getattr(metric, part).extend(getattr(filled(slice(2, None, 3)), part))
        got[name] = metric.compute() | {"grid": metric.grid([16], ["float32"])[0].scores["ndcg@10"]}
    torch.save(got, f"{out}{rank}")
    dist.destroy_process_group()


def test_two_ranks_score_as_one(tmp_path: Path) -> None:
    run_ranks(worker, (str(tmp_path / "store"), str(tmp_path / "out")), 2)
    expected = filled().compute()
    for rank in range(2):
        for scores in torch.load(f"{tmp_path / 'out'}{rank}", weights_only=True).values():
            assert scores == pytest.approx(expected | {"grid": expected["ndcg@10"]})


def test_equal_vectors_score_what_chance_would() -> None:
    metric, keys = Retrieval(("recall@1",)), torch.arange(20)
    ones = torch.ones(20, 4)
    metric.update(ones[:1], keys[:1], keys[:1], ones[:1, :1], ones, keys)
    assert metric.compute() == {"recall@1": pytest.approx(1 / 20)}
