"""An exported folder under the rules of readers other than the newest sentence-transformers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_embed import TextEncoder, UserError
from lightning_embed.export.folder import expected_vectors, export_encoder
from tests.toys import toy_folder

TEXTS = ["w1 w2", "w3", "w4 w5 w6 w7 w8 w9 w10 w11 w12"]
TEMPLATE = "{% for m in messages %}w50 w51 {{ m['content'] }} w52{% endfor %}"


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text("utf-8"))


def rewrite(file: Path, **settings: object) -> None:
    file.write_text(json.dumps((json.loads(file.read_text("utf-8")) if file.exists() else {}) | settings), "utf-8")


def exported(tmp_path: Path, family: str = "bert", **settings: Any) -> tuple[TextEncoder, Path]:
    encoder = TextEncoder(str(toy_folder(tmp_path / family, family)), **settings).eval()
    export_encoder(encoder, tmp_path / "out")
    return encoder, tmp_path / "out"


def sentence_transformers_vectors(folder: Path, names: list[str]) -> dict[str, np.ndarray]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    return {name: np.asarray(model.encode(TEXTS, prompt_name=name)) for name in names}


@pytest.mark.parametrize(
    ("pooling", "key"),
    [("mean", "mean_tokens"), ("cls", "cls_token"), ("last_token", "lasttoken")],
)
def test_the_pooling_is_in_the_schema_that_all_read(tmp_path: Path, pooling: Any, key: str) -> None:
    _, folder = exported(tmp_path, pooling=pooling)
    config = read(folder, "1_Pooling/config.json")
    assert config["word_embedding_dimension"] == 32 and not {"embedding_dimension", "pooling_mode"} & config.keys()
    assert [name for name, value in config.items() if value is True and name != "include_prompt"] == [
        f"pooling_mode_{key}"
    ]


def test_the_length_is_where_servers_look(tmp_path: Path) -> None:
    _, folder = exported(tmp_path, max_length=7)
    assert read(folder, "sentence_bert_config.json") == {"max_seq_length": 7, "do_lower_case": False}
    assert TextEncoder(str(folder)).tokenizer.max_length == 7


def test_modules_have_the_names_that_every_version_imports(tmp_path: Path) -> None:
    _, folder = exported(tmp_path, dim=16)
    kinds = [module["type"] for module in read(folder, "modules.json")]
    assert kinds == [
        f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling", "Dense", "Normalize")
    ]
    tokenizer = read(folder, "tokenizer_config.json")
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert tokenizer["model_input_names"] == ["input_ids", "attention_mask"]
    assert "module_input_name" not in read(folder, "2_Dense/config.json")


@pytest.mark.parametrize("family", ["qwen3", "llama", "eurobert"])
def test_theta_is_at_the_top_too(tmp_path: Path, family: str) -> None:
    _, folder = exported(tmp_path, family, export_rope_theta=5e5)
    config = read(folder, "config.json")
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 5e5


def test_modernberts_two_thetas_and_its_period_are_at_the_top(tmp_path: Path) -> None:
    _, folder = exported(tmp_path, "modernbert")
    config = read(folder, "config.json")
    rotary = config["rope_parameters"]
    assert config["global_rope_theta"] == rotary["full_attention"]["rope_theta"]
    assert config["local_rope_theta"] == rotary["sliding_attention"]["rope_theta"]
    full = [kind == "full_attention" for kind in config["layer_types"]]
    assert full == [number % config["global_attn_every_n_layers"] == 0 for number in range(len(full))]


@pytest.mark.parametrize("family", ["bert", "qwen3", "modernbert"])
def test_what_is_added_changes_no_vector(tmp_path: Path, family: str) -> None:
    prompts = {"query": "w1 ", "topic": "w9 w8 ", "STS": "w7 "}
    encoder, folder = exported(tmp_path, family, max_length=8, prompts=prompts)
    wanted = expected_vectors(encoder, TEXTS)
    assert [*wanted] == ["query", "document", "topic", "STS"]
    found = sentence_transformers_vectors(folder, [*wanted])
    again = TextEncoder(str(folder)).eval()
    for name, vectors in wanted.items():
        assert found[name] == pytest.approx(vectors, abs=1e-5)
        assert again.encode(TEXTS, name).numpy() == pytest.approx(vectors, abs=1e-5)


def test_a_tasks_own_prompt_is_kept_and_the_others_have_the_documents(tmp_path: Path) -> None:
    _, folder = exported(tmp_path, prompts={"document": "w1 ", "STS": "w7 "})
    prompts = read(folder, "config_sentence_transformers.json")["prompts"]
    assert (prompts["STS"], prompts["Clustering"], prompts["query"]) == ("w7 ", "w1 ", "")
    assert TextEncoder(str(folder)).tokenizer.prompts == {"document": "w1 ", "STS": "w7 "}


def test_a_tasks_own_empty_prompt_is_kept(tmp_path: Path) -> None:
    prompts = {"document": "w1 ", "STS": "", "topic": ""}
    _, folder = exported(tmp_path, prompts=prompts)
    again = TextEncoder(str(folder))
    assert again.tokenizer.prompts == prompts
    export_encoder(again, tmp_path / "again")
    both = [read(one, "config_sentence_transformers.json")["prompts"] for one in (folder, tmp_path / "again")]
    assert both[0] == both[1] and both[0]["STS"] == "" and both[0]["Clustering"] == "w1 "


def test_a_chat_template_does_not_get_into_the_texts(tmp_path: Path) -> None:
    model = toy_folder(tmp_path / "chat", "qwen3")
    rewrite(model / "tokenizer_config.json", chat_template=TEMPLATE)
    encoder = TextEncoder(str(model)).eval()
    assert encoder.tokenizer.hf.chat_template == TEMPLATE
    export_encoder(encoder, tmp_path / "out")
    found = sentence_transformers_vectors(tmp_path / "out", ["document"])["document"]
    assert found == pytest.approx(encoder.encode(TEXTS).numpy(), abs=1e-5)
    assert encoder.tokenizer.hf.chat_template == TEMPLATE


def test_a_folder_that_renders_a_chat_template_is_refused(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    model = toy_folder(tmp_path / "chat", "qwen3")
    rewrite(model / "tokenizer_config.json", chat_template=TEMPLATE)
    SentenceTransformer(modules=[Transformer(str(model)), Pooling(32)]).save(str(tmp_path / "saved"))
    with pytest.raises(UserError, match="render each text through its chat template, which is not supported"):
        TextEncoder(str(tmp_path / "saved"))


def test_prompts_left_out_of_the_pooling_are_refused_and_none_at_all_is_not(tmp_path: Path) -> None:
    _, folder = exported(tmp_path, prompts={"query": "w1 "})
    rewrite(folder / "1_Pooling/config.json", include_prompt=False)
    with pytest.raises(UserError, match="leaves out the tokens of prompts"):
        TextEncoder(str(folder))
    TextEncoder(str(folder), prompts={})


def test_lower_case_is_read_and_exported(tmp_path: Path) -> None:
    _, folder = exported(tmp_path)
    rewrite(folder / "sentence_bert_config.json", do_lower_case=True)
    encoder = TextEncoder(str(folder)).eval()
    upper = [text.upper() for text in TEXTS]
    assert encoder.encode(upper).numpy() == pytest.approx(encoder.encode(TEXTS).numpy(), abs=1e-6)
    export_encoder(encoder, tmp_path / "lower")
    again = TextEncoder(str(tmp_path / "lower")).eval()
    assert again.encode(upper).numpy() == pytest.approx(encoder.encode(TEXTS).numpy(), abs=1e-6)


@pytest.mark.parametrize("family", ["roberta", "distilbert", "xlm-roberta"])
def test_the_length_is_read_from_each_familys_file(tmp_path: Path, family: str) -> None:
    _, folder = exported(tmp_path, max_length=9)
    (folder / "sentence_bert_config.json").rename(folder / f"sentence_{family}_config.json")
    rewrite(folder / f"sentence_{family}_config.json", max_seq_length=6)
    assert TextEncoder(str(folder)).tokenizer.max_length == 6


@pytest.mark.parametrize("similarity", ["dot", "euclidean", "manhattan"])
def test_a_model_of_another_similarity_is_refused(tmp_path: Path, similarity: str) -> None:
    _, folder = exported(tmp_path)
    rewrite(folder / "config_sentence_transformers.json", similarity_fn_name=similarity)
    TextEncoder(str(folder))  # its vectors are unit vectors already
    (folder / "modules.json").write_text(json.dumps(read(folder, "modules.json")[:-1]))
    with pytest.raises(UserError, match=f"compared by {similarity}, and only cosine is supported"):
        TextEncoder(str(folder))


def test_an_old_folder_with_its_backbone_inside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    toy_folder(tmp_path / "old/0_Transformer")
    with pytest.raises(UserError, match="whose backbone is in 0_Transformer; save it again"):
        TextEncoder(str(tmp_path / "old"))
