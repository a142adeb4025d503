"""`python -m lightning_embed export --push`: what arrives at a hub, played by a server on this machine."""

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub.constants as hub
import pytest
import yaml

from lightning_embed import TextEncoder
from lightning_embed.__main__ import main
from lightning_embed.export.model_card import model_card
from lightning_embed.utils.hashing import contents_hash

CARD = """---
library_name: sentence-transformers
# license:        left for the owner
---

# small

```python
model = SentenceTransformer("small")  # this folder's path; truncate_dim=... for shorter vectors
```
"""


class Hub(ThreadingHTTPServer):
    """Keeps what is committed to it, and the requests that came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.held: list[str] = []
        self.seen: list[str] = []
        self.made: dict[str, object] = {}
        self.files: dict[str, str] = {}
        self.deleted: list[str] = []
        self.token_is_valid = True
        self.complaint = ""


class Requests(BaseHTTPRequestHandler):
    """The hub's answers, as far as an upload asks for them."""

    server: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def answer(self, content: object, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        length = self.headers["Content-Length"]
        if length:
            return self.rfile.read(int(length))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_GET(self) -> None:
        hub = self.server
        hub.seen.append(f"GET {self.path}")
        if not hub.token_is_valid:
            self.answer({"error": "Invalid credentials"}, 401)
        elif self.path.startswith("/api/whoami"):
            self.answer({"name": "me", "orgs": []})
        elif hub.held or hub.made:
            tree = [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in hub.held]
            siblings = [{"rfilename": name} for name in hub.held]
            self.answer(tree if "/tree/" in self.path else {"id": "me/small", "siblings": siblings, "sha": "0" * 40})
        else:
            body = b'{"error": "Repository not found"}'
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_POST(self) -> None:
        hub = self.server
        hub.seen.append(f"POST {self.path}")
        body = self.body()
        if self.path == "/api/repos/create":
            hub.made = json.loads(body)
            self.answer({"url": f"{hub.url}/me/small"})
        elif self.path == "/api/validate-yaml":
            errors = [{"message": hub.complaint}] if hub.complaint else []
            self.answer({"errors": errors, "warnings": []}, 400 if errors else 200)
        elif "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            self.answer({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    hub.files[line["value"]["path"]] = b64decode(line["value"]["content"]).decode()
                elif line["key"] == "deletedFile":
                    hub.deleted.append(line["value"]["path"])
            self.answer({"commitUrl": f"{hub.url}/me/small/commit/0", "commitOid": "0" * 40, "pullRequestUrl": None})
        else:
            self.answer({}, 404)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    monkeypatch.setattr(hub, "ENDPOINT", server.url)
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_toy")
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Looks like an exported model; nobody loads it."""
    made = tmp_path / "small"
    (made / "1_Pooling").mkdir(parents=True)
    for name, content in {"modules.json": "[]", "1_Pooling/config.json": "{}", "model.safetensors": "w"}.items():
        (made / name).write_text(content)
    (made / ".cache").write_text("of an editor")
    (made / "README.md").write_text(CARD)
    return made


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["export", "--push", *map(str, words)])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stop.value.code == 2
    return line


def visibility(server: Hub) -> object:
    """Of the repository that was asked for; older clients say it by a flag."""
    return server.made.get("visibility") or ("private" if server.made["private"] else "public")


def push(folder: Path, *options: str) -> None:
    main(["export", "--push", str(folder), "me/small", *options])


def test_the_folder_arrives_in_one_private_commit(
    server: Hub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push(folder)
    assert visibility(server) == "private" and server.made["name"] == "small"
    assert set(server.files) == {"README.md", "modules.json", "1_Pooling/config.json", "model.safetensors"}
    assert len([seen for seen in server.seen if "/commit/" in seen]) == 1
    assert server.files["README.md"] == CARD.replace('("small")  # this folder\'s path; ', '("me/small")  # ')
    said = capsys.readouterr()
    assert f"pushed to {server.url}/me/small" in said.out and "1_Pooling/config.json" in said.out
    assert "no licence" in said.err


def test_a_dry_run_says_what_would_go_and_asks_the_hub_nothing(
    server: Hub, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    push(folder, "--dry_run", "true")
    assert not server.seen
    said = capsys.readouterr().out
    assert "model.safetensors" in said and "nothing was uploaded" in said and ".cache" not in said


def test_a_public_repository_is_asked_for(server: Hub, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "README.md").write_text(CARD.replace("# license:        left for the owner", "license: mit"))
    push(folder, "--public", "true")
    assert visibility(server) == "public"
    assert "licence" not in capsys.readouterr().err


def test_files_that_are_there_are_replaced_only_if_that_is_asked_for(
    server: Hub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.held = [".gitattributes", "README.md", "onnx/model.onnx"]
    assert "holds 2 files already, such as README.md" in refused(capsys, folder, "me/small")
    assert not server.files and not server.made
    push(folder, "--overwrite", "true")
    assert server.deleted == ["onnx/model.onnx"] and len(server.files) == 4


def test_scores_of_a_report_become_metadata(server: Hub, folder: Path) -> None:
    results = report(folder, contents_hash([folder]))
    push(folder, "--results", str(results))
    front = yaml.safe_load(server.files["README.md"].split("---")[1])
    (entry,) = front["model-index"]
    assert entry["name"] == "small" and front["library_name"] == "sentence-transformers"
    stock, own = entry["results"]
    assert stock["task"]["type"] == "STS" and stock["dataset"]["type"] == "mteb/stsbenchmark-sts"
    assert stock["metrics"] == [{"type": "cosine_spearman", "name": "Spearman", "value": 81.23}]
    assert own["dataset"] == {"name": "mine", "type": "mine", "revision": "1"} and own["metrics"][0]["value"] == 50.0
    assert "# license:" in server.files["README.md"]  # what the owner has to fill in stays


def report(folder: Path, fingerprint: str) -> Path:
    rows = [
        {"dim": dim, "precision": precision, "scores": {"STSBenchmark": score, "mine": 0.5}}
        for dim, precision, score in ((32, "float32", 0.81234), (32, "int8", 0.8), (16, "float32", 0.7))
    ]
    names = [("STSBenchmark", "STS", "cosine_spearman"), ("mine", "Retrieval", "ndcg_at_10")]
    tasks = [{"name": n, "kind": k, "metric": m, "revision": "1"} for n, k, m in names]
    model = {"source": "other/model", "fingerprint": fingerprint, "dim": 32, "grid": rows}
    results = folder.parent / "results"
    results.mkdir()
    (results / "report.json").write_text(json.dumps({"models": [model], "tasks": tasks}))
    return results


def test_mistakes_are_one_line_and_nothing_is_pushed(
    server: Hub, folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def wrong(*words: object) -> str:
        return refused(capsys, *words)

    assert "expected owner/name" in wrong(folder, "small")
    assert "there is no such folder" in wrong(tmp_path / "none", "me/small")
    assert "expected a model's folder" in wrong(tmp_path, "me/small")
    other = report(folder, "of another model")
    assert re.search(
        r"has no scores.*only of other/model; run `evaluate", wrong(folder, "me/small", "--results", other)
    )
    assert "expected the folder of a report" in wrong(folder, "me/small", "--results", tmp_path)
    (folder / "README.md").unlink()
    assert "has no README.md" in wrong(folder, "me/small")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "README.md").write_text(CARD)
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "/home/me/base"}')
    assert "/home/me/base, which nobody else can load; export it again with --base" in wrong(adapter, "me/small")
    assert not server.seen


def test_what_the_hub_refuses_is_one_line(
    server: Hub, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = folder, "me/small"
    server.complaint = '"license" must be one of [mit]'
    assert 'Invalid metadata in README.md. - "license" must be one of [mit]' in refused(capsys, *words)
    server.token_is_valid = False
    assert "the token is not valid" in refused(capsys, *words)
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in refused(capsys, *words)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: None)
    assert "hf auth login" in refused(capsys, *words)


def test_the_card_names_the_hubs_data_sets_and_no_files(teacher: Path) -> None:
    train = ["me/questions", {"path": "pairs.jsonl"}, {"path": ["me/answers", "more.parquet"]}]
    card = model_card(TextEncoder(str(teacher)), "small", {"data": {"init_args": {"train": train}}}, None, [])
    assert yaml.safe_load(card.split("---")[1])["datasets"] == ["me/questions", "me/answers"]
    assert "datasets:" not in model_card(TextEncoder(str(teacher)), "small", {}, None, [])
