"""A model as mteb wants it: each text is encoded once, and every size and precision is derived from that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lightning_embed.compat.mteb import choose_prompt, search_wrapper, usable_prompts
from lightning_embed.evaluation.metrics.quantize import (
    Precision,
    quantize,
    similarity_of,
)
from lightning_embed.evaluation.stored import MissingVectors
from lightning_embed.evaluation.tasks.embedding_cache import EmbeddingCache
from lightning_embed.heads.quantize import int8_codes, int8_ranges, signs

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models import ModelMeta
    from mteb.types import PromptType
    from torch.utils.data import DataLoader

    from lightning_embed.evaluation.models import EvaluatedModel

RESCORED = 10
"""Results that a search with rescoring is for: 4 times as many candidates are rescored, the cutoff of nDCG@10."""

_ENTRIES = 2**24


class TaskEncoder:
    """The model itself, with its prompts and its own similarity, as mteb's own wrapper of it gives them; vectors are cached.

    Args:
        model: What encodes.
        cache: Its vectors.
        on_texts: Called with a number of texts whenever so many were encoded.
        inner: Of a pair of models, what encodes queries and what encodes documents; of a mapped model, what encodes before the map.
    """

    def __init__(
        self,
        model: EvaluatedModel,
        cache: EmbeddingCache,
        on_texts: Callable[[int], None] = lambda count: None,
        inner: tuple[TaskEncoder, ...] = (),
    ) -> None:
        self.model, self.inner = model, inner
        self.cache, self.on_texts = cache, on_texts
        self.prompts = usable_prompts(model.prompts)
        self.mteb_model_meta = meta_of(model)

    def encode(
        self,
        inputs: DataLoader[Any],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """(n, D) float32 vectors of mteb's inputs, with the prompt that mteb's rules choose among the model's.

        Args:
            inputs: Batches with a `text` column.
            task_metadata: Chooses the prompt, with `prompt_type`.
            hf_split: Not used.
            hf_subset: Not used.
            prompt_type: Query, document or neither.
            kwargs: Not used: batches and devices are the model's affair.
        """
        role = prompt_type.value if prompt_type else ""
        if self.inner:
            inner = self.inner[-1 if role == "document" else 0]
            found = inner.encode(
                inputs, task_metadata=task_metadata, hf_split=hf_split, hf_subset=hf_subset, prompt_type=prompt_type
            )
            mapped = self.model.mapped
            return found if mapped is None else torch.from_numpy(mapped.apply(found.numpy()))
        texts = [text for batch in inputs for text in batch["text"]]
        name = choose_prompt(self.prompts, task_metadata, prompt_type)
        prompt = None if name is None else self.prompts[name]
        if self.model.stored:
            try:
                return torch.from_numpy(self.model.embed(texts, role, prompt))
            except MissingVectors as error:
                raise error.in_task(task_metadata.name) from None
        context = f"{role}\0{'' if prompt is None else prompt}"
        vectors = self.cache.vectors(texts, context, lambda some: self.model.embed(some, role, prompt), self.on_texts)
        return torch.from_numpy(vectors)

    @property
    def encoded(self) -> int:
        """Texts that were not in the cache."""
        return self.cache.encoded + sum(inner.encoded for inner in self.inner)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """(n, m) scores of all pairs, by the model's own function."""
        from sentence_transformers import SimilarityFunction

        return SimilarityFunction.to_similarity_fn(self.model.similarity)(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """(n,) scores of the rows, by the model's own function."""
        from sentence_transformers import SimilarityFunction

        return SimilarityFunction.to_similarity_pairwise_fn(self.model.similarity)(embeddings1, embeddings2)


def task_encoder(model: EvaluatedModel, folder: Path | None, on_texts: Callable[[int], None]) -> TaskEncoder:
    """A model, a pair of them or a mapped one, with its cache: what they are made of finds what was encoded by it alone.

    Args:
        model: The model.
        folder: Where vectors are kept, by fingerprint; None: in memory.
        on_texts: As for `TaskEncoder`.
    """
    inner = tuple(task_encoder(one, folder, on_texts) for one in model.inner)
    own = None if inner or model.stored or folder is None else folder / model.fingerprint
    return TaskEncoder(model, EmbeddingCache(own), on_texts, inner)


class SizedEncoder:
    """A model's vectors cut to k entries, and of unit length again where the model's own are.

    Args:
        whole: The model.
        dim: k.
        precision: `int8` and `binary` vectors lose what the precision loses and come back as floats; int8 ranges are those of the
            first texts that a task encodes (the training texts, the first sentences), so nothing is learnt from later ones.
    """

    def __init__(self, whole: TaskEncoder, dim: int, precision: Precision = "float32") -> None:
        self.whole, self.dim, self.precision = whole, dim, precision
        self.mteb_model_meta = meta_of(whole.model, dim, precision)
        self._ranges: dict[str, tuple[Tensor, Tensor]] = {}

    def encode(
        self,
        inputs: DataLoader[Any],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """(n, k) float32 vectors; see `TaskEncoder.encode`."""
        vectors = self.whole.encode(
            inputs, task_metadata=task_metadata, hf_split=hf_split, hf_subset=hf_subset, prompt_type=prompt_type
        )
        cut = vectors[:, : self.dim]
        if self.whole.model.normalized:
            cut = normalize(cut, dim=-1)
        if self.precision == "float32":
            return cut
        if self.precision == "int8":
            low, step = self._ranges.setdefault(hf_subset, int8_ranges(cut))
            return low + step * (int8_codes(cut, low, step).float() + 128)
        return signs(cut)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """(n, m) scores of all pairs, by the model's own function."""
        return self.whole.similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """(n,) scores of the rows, by the model's own function."""
        return self.whole.similarity_pairwise(embeddings1, embeddings2)


class QuantizedIndex:
    """A search of quantised documents, as an index of mteb's search wrapper.

    int8: documents restored from their codes (ranges from all documents), queries as they are, by the model's own similarity.
    binary: by Hamming distance. binary_rescore: the candidates that Hamming distance finds are rescored with the unquantised query;
    the others follow in the order of their distance.

    Args:
        precision: How documents are stored.
        depth: See `similarity_of`.
    """

    def __init__(self, precision: Precision, depth: int = RESCORED) -> None:
        self.precision, self.depth = precision, depth
        self.clear()

    def add_documents(self, embeddings: Any, idxs: list[str]) -> None:
        """Takes the (M, k) documents, all at once.

        Args:
            embeddings: Their vectors.
            idxs: Their ids.
        """
        self.documents, self.ids = torch.as_tensor(embeddings).float(), list(idxs)

    def search(
        self,
        embeddings: Any,
        top_k: int,
        similarity_fn: Callable[[Any, Any], Any],
        top_ranked: Any = None,
        query_idx_to_id: dict[int, str] | None = None,
    ) -> tuple[list[list[float]], list[list[int]]]:
        """The best documents of each query: scores and rows (with `top_ranked`: places in the query's own candidates).

        Args:
            embeddings: (Q, k) query vectors.
            top_k: Results a query.
            similarity_fn: The model's own similarity.
            top_ranked: Query id -> candidate ids, for reranking.
            query_idx_to_id: Row -> query id, for reranking.
        """
        queries, documents = quantize(torch.as_tensor(embeddings).float(), self.documents, self.precision)
        if top_ranked is not None and query_idx_to_id is not None:
            place = {name: row for row, name in enumerate(self.ids)}
            found = []
            for row, query in enumerate(queries.split(1)):
                candidates = documents[[place[name] for name in top_ranked.get(query_idx_to_id[row], [])]]
                scores = self._scores(query, candidates, similarity_fn) if len(candidates) else torch.zeros(1, 0)
                found.append(scores.topk(min(top_k, len(candidates)), dim=1))
        else:
            rows = max(1, _ENTRIES // len(documents))
            top = min(top_k, len(documents))
            found = [self._scores(part, documents, similarity_fn).topk(top, dim=1) for part in queries.split(rows)]
        values = [row for part in found for row in part.values.tolist()]
        return values, [row for part in found for row in part.indices.tolist()]

    def _scores(self, queries: Tensor, documents: Tensor, similarity_fn: Callable[[Any, Any], Any]) -> Tensor:
        if self.precision in ("float32", "int8"):
            return torch.as_tensor(similarity_fn(queries, documents))
        unit = normalize(queries, dim=-1)
        scores = similarity_of(self.precision, self.depth)(unit, documents)
        # What was not rescored comes after all that was (cosines are at least -1), in the order of Hamming distance.
        return torch.where(scores.isinf(), signs(queries) @ documents.T - 4, scores)

    def clear(self) -> None:
        """Forgets the documents."""
        self.documents, self.ids = torch.zeros(0, 0), []


def quantized_search(whole: TaskEncoder, dim: int, precision: Precision) -> Any:
    """A model's retrieval from a `QuantizedIndex` of its first k entries, for mteb.

    Args:
        whole: The model.
        dim: k.
        precision: How documents are stored.
    """
    search = search_wrapper(SizedEncoder(whole, dim), QuantizedIndex(precision))
    search.mteb_model_meta = meta_of(whole.model, dim, precision)
    return search


def meta_of(model: EvaluatedModel, dim: int | None = None, precision: Precision = "float32") -> ModelMeta:
    """What mteb writes beside a result: the model's name, its contents' hash, size and precision.

    Args:
        model: The model.
        dim: Entries a vector; None: all.
        precision: How vectors are stored.
    """
    from mteb.models import ModelMeta
    from mteb.models.model_meta import ScoringFunction

    derived = {} if dim is None else {"embed_dim": dim, "precision": precision}
    return ModelMeta.create_empty(
        {
            "name": f"local/{model.name}",
            "revision": model.fingerprint,
            "embed_dim": dim or model.dim,
            "similarity_fn_name": ScoringFunction(model.similarity),
            "experiment_kwargs": derived or None,
        }
    )
