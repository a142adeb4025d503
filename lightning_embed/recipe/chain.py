"""The chain: which stages there are, what each starts from, and the configuration of `fit` that each comes to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from string import Template
from typing import Any

from jsonargparse.typing import Path_fr

from lightning_embed.errors import UserError
from lightning_embed.utils.configs import read_config
from lightning_embed.utils.differences import flat

AFTER, DATA = "after", "data"
"""Names that are replaced by folders in a stage's configuration: `$after`, the predecessor's, and `$data`."""
SEEDS = {"seed", "seed_everything"}
"""Settings in which repeats of a stage differ."""
STEP_SETTINGS = {
    "max_steps",
    "warmup_steps",
    "val_check_interval",
    "every_n_train_steps",
    "total_steps",
    "every_n_steps",
}
"""Settings that count steps, at any depth of a configuration."""


@dataclass
class Stage:
    """One `fit` of the chain."""

    name: str
    """What it is called, and its folder's name."""
    config: Path_fr
    """Its configuration, as `fit` takes it, with `$after`, `$data` and the chain's values in it: a path from the chain's file, or in
    Python any path."""
    after: str | None = None
    """The stage that it starts from: `$after` is that one's folder. None: it starts from pretrained weights."""
    task: str | None = None
    """What its student is scored on at the end, as `evaluate` takes it: a name of mteb's, or `[NAME=][KIND:]PATH`."""
    settings: dict[str, Any] | None = None
    """Settings of `fit` that count more than its configuration's, such as another seed."""
    skip: bool = False
    """Leaves it out: what comes after it starts from what it would have started from."""


@dataclass(frozen=True)
class Job:
    """A stage whose configuration is settled."""

    stage: Stage
    after: Job | None
    """What it starts from."""
    folder: Path
    """Its run's folder."""
    settings: dict[str, Any]
    """The configuration of `fit`, with `$after` and `$data` left in, so that it stays the same where folders move."""
    places: dict[str, str]
    """`after` and `data` -> folder."""
    data_identity: str
    """Changes with the data that the chain reads."""

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.stage.name

    @property
    def ancestors(self) -> list[Job]:
        """What it is built on, the first stage first."""
        return [] if self.after is None else [*self.after.ancestors, self.after]

    @property
    def key(self) -> str:
        """16 hexadecimal digits of the configuration, the data and all predecessors."""
        before = self.after.key if self.after else ""
        said = json.dumps([self.settings, self.data_identity, before], sort_keys=True)
        return blake2b(said.encode(), digest_size=8).hexdigest()

    @property
    def seedless_key(self) -> str:
        """16 hexadecimal digits, the same for jobs on one predecessor that differ in nothing but seeds."""
        said = [item for item in flat(self.settings) if item[0].rpartition(".")[2] not in SEEDS]
        before = self.after.key if self.after else ""
        return blake2b(json.dumps([sorted(said), before]).encode(), digest_size=8).hexdigest()

    @property
    def steps(self) -> int | None:
        """Optimizer steps that it does."""
        return self.settings.get("trainer", {}).get("max_steps")

    def runnable(self) -> dict[str, Any]:
        """The configuration with all folders put in: `fit` takes it as it is."""
        settings: dict[str, Any] = replaced(self.settings, self.places, self.name)
        settings.setdefault("trainer", {})["default_root_dir"] = str(self.folder)
        return settings

    def task(self) -> str | None:
        """What it is scored on, with folders put in."""
        return None if self.stage.task is None else str(replaced(self.stage.task, self.places, self.name))


def order(stages: Sequence[Stage]) -> list[tuple[Stage, str | None]]:
    """The stages that are not skipped, each with the one that it really starts from.

    Args:
        stages: As the chain's file has them.

    Raises:
        UserError: A name stands twice or is no folder's name, or a stage starts from one that is not there or comes later.
    """
    start: dict[str, str | None] = {}
    kept = []
    for stage in stages:
        if stage.name in start:
            raise UserError(f"stages: two are called '{stage.name}'; give each a name of its own")
        if not stage.name.replace("-", "_").isidentifier() or stage.name in ("data", "export", "scores", "report"):
            raise UserError(f"stages: '{stage.name}' cannot be a stage's name; give letters, digits and underscores")
        if stage.after is not None and stage.after not in start:
            later = stage.after in {other.name for other in stages}
            known = ", ".join(start) or "none"
            where = "which comes later: move it up" if later else f"which is not there; the stages before it: {known}"
            raise UserError(f"stage '{stage.name}' starts from '{stage.after}', {where}")
        before = None if stage.after is None else start[stage.after]
        start[stage.name] = before if stage.skip else stage.name
        if not stage.skip:
            kept.append((stage, before))
    if not kept:
        raise UserError("stages: at least one is needed that is not skipped")
    return kept


def jobs(
    stages: Sequence[Stage],
    folder: Path,
    data: Path,
    data_identity: str,
    steps: float = 1.0,
    values: Mapping[str, Any] | None = None,
    shared: Mapping[str, Any] | None = None,
) -> list[Job]:
    """Reads each stage's configuration and settles it.

    Args:
        stages: As the chain's file has them.
        folder: Of the chain: each stage has its own in it.
        data: The folder that replaces `$data`.
        data_identity: Changes with what it holds.
        steps: Every number of steps is multiplied by this.
        values: Name -> what replaces `$name` in the configurations.
        shared: Settings of `fit` that each stage has unless its own file says otherwise.

    Raises:
        UserError: As `order`; or a configuration cannot be read, or has a `$name` without a value.
    """
    if not 0 < steps < float("inf"):
        raise UserError(f"steps: the factor must be above 0, got {steps}")
    made: dict[str, Job] = {}
    for stage, before in order(stages):
        after = made[before] if before else None
        places = {DATA: str(data)} | ({AFTER: str(after.folder)} if after else {})
        settings = merged(merged(dict(shared or {}), read_config(Path(stage.config))), stage.settings or {})
        known = {**(values or {}), **{name: f"${name}" for name in places}}
        settings = scaled(replaced(settings, known, stage.name), steps)
        made[stage.name] = Job(stage, after, folder / stage.name, settings, places, data_identity)
    return list(made.values())


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both configurations, mapping by mapping; where both say something, the second counts.

    Args:
        base: The one.
        over: The other.
    """
    both = dict(base)
    for key, value in over.items():
        mappings = isinstance(value, Mapping) and isinstance(both.get(key), Mapping)
        both[key] = merged(both[key], value) if mappings else value
    return both


def replaced(value: Any, known: Mapping[str, Any], stage: str) -> Any:
    """A configuration in which each `$name` is what it stands for; a text that is nothing but `$name` may become any value.

    Args:
        value: The configuration, or a part of it.
        known: Name -> its value.
        stage: Of which stage, for messages.

    Raises:
        UserError: A `$name` has no value.
    """
    if isinstance(value, Mapping):
        return {key: replaced(one, known, stage) for key, one in value.items()}
    if isinstance(value, list):
        return [replaced(one, known, stage) for one in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    if value.startswith("$") and value[1:] in known:
        return known[value[1:]]
    try:
        return Template(value).substitute(known)
    except (KeyError, ValueError) as error:
        if AFTER in str(error) and isinstance(error, KeyError):
            raise UserError(
                f"stage '{stage}': its configuration has $after, but the chain says no `after` for it"
            ) from None
        names = ", ".join(f"${name}" for name in known)
        raise UserError(f"stage '{stage}': '{value}' has a name without a value; known are {names}") from None


def scaled(settings: Any, factor: float) -> Any:
    """A configuration in which every number of steps is multiplied and rounded, but at least 1 where it was.

    Args:
        settings: The configuration, or a part of it.
        factor: Above 0.
    """
    if isinstance(settings, list):
        return [scaled(one, factor) for one in settings]
    if not isinstance(settings, dict):
        return settings
    return {
        key: max(1, round(value * factor))
        if key in STEP_SETTINGS and type(value) is int and value > 0
        else scaled(value, factor)
        for key, value in settings.items()
    }
