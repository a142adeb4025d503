"""The models of a command: which kind each is, and what they need besides their names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lightning_embed.errors import UserError
from lightning_embed.evaluation.mapped import load_mapped
from lightning_embed.evaluation.models import MAPPED, STORED, EvaluatedModel, load_model, split_name
from lightning_embed.evaluation.stored import load_stored, open_given


@dataclass
class Loader:
    """Loads a model of any kind."""

    device: str | None = None
    """Where models run; None: the GPU if there is one."""
    batch_size: int = 32
    """Texts a forward."""
    config: str | None = None
    """The configuration of a checkpoint's run, in place of its own settings."""
    teacher_store: str | None = None
    """Folder of all stored teachers; None: the user's cache folder."""
    stored_prompts: Mapping[str, str] = field(default_factory=dict)
    """What preceded texts when stored vectors were made, by role."""
    map_texts: str | None = None
    """The file with the texts that maps are fitted on."""
    queries: Collection[str] = ()
    """The tasks' queries, which no map is fitted on."""
    cache: Path | None = None
    """Where embeddings are kept."""
    encoded: int = 0
    """Texts that had to be embedded to fit maps."""
    _loaded: dict[str, EvaluatedModel] = field(default_factory=dict)

    def __call__(self, spec: str) -> EvaluatedModel:
        """Loads a model.

        Args:
            spec: `[NAME=]stored:STORED`, `[NAME=]mapped:STORED:MODEL`, or as `load_model` takes it.

        Raises:
            UserError: It cannot be had.
        """
        title, model = split_name(spec)
        if model.startswith(STORED):
            return load_stored(model.removeprefix(STORED), title, self.teacher_store, self.stored_prompts)
        if model.startswith(MAPPED):
            return self._mapped(title, model)
        if model not in self._loaded:  # a mapped model may be one of the command's own
            self._loaded[model] = load_model(model, self.device, self.batch_size, self.config)
        return replace(self._loaded[model], name=title)

    def _mapped(self, title: str, spec: str) -> EvaluatedModel:
        name, _, model = spec.removeprefix(MAPPED).partition(":")
        if not (name and model) or model.startswith((STORED, MAPPED)):
            raise UserError(
                f"model '{title}': expected mapped:STORED:MODEL, such as mapped:voyage:path/to/model, got {spec}"
            )
        if self.map_texts is None:
            raise UserError(
                f"model '{title}': which texts is the map fitted on? Give --map_texts FILE, texts with vectors of '{name}', such as "
                "the index's corpus.jsonl"
            )
        store = open_given(name, self.teacher_store)
        prompt = self.stored_prompts.get("document", "")
        file = Path(self.map_texts).expanduser()
        made, encoded = load_mapped(self(model), store, title, file, self.queries, prompt, self.cache)
        self.encoded += encoded
        return made
