"""The average of the weights of several checkpoints of one run: often a little better than the last, and never slower.

    w = (1/n) Σ_k w_k

The recipe's adapters end as the average of the last and an earlier checkpoint.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_embed.checkpoints.settings import KEY
from lightning_embed.distributed.tensors import local, shard_like
from lightning_embed.errors import UserError


def mean(tensors: Sequence[Tensor]) -> Tensor:
    """The mean of tensors of one shape, in their own type; what is equal in all of them, or counts something, is as in the last.

    Args:
        tensors: n ≥ 1 tensors of any equal shape.
    """
    last = tensors[-1]
    if not last.is_floating_point() or all(torch.equal(one, last) for one in tensors[:-1]):
        return last
    return torch.stack([one.double() for one in tensors]).mean(0).to(last.dtype)


def average(states: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of state dicts, entry by entry; frozen weights, equal in all of them, stay as they are to the bit.

    Args:
        states: What each is called, such as its file -> its state dict; at least two.

    Returns:
        Entry -> mean, in the last one's types and order.

    Raises:
        UserError: They are not of one model: names the first entry, or shape, that differs.
    """
    if len(states) < 2:
        raise UserError(f"average: expected two checkpoints or more, got {len(states)}")
    names = list(states)
    last = states[names[-1]]
    for name in names[:-1]:
        _require_alike(states[name], last, name, names[-1])
    return {key: mean([state[key] for state in states.values()]) for key in last}


def _require_alike(one: Mapping[str, Tensor], other: Mapping[str, Tensor], name: str, other_name: str) -> None:
    for key in (*other, *one):
        if key not in one or key not in other:
            there, lacking = (other_name, name) if key in other else (name, other_name)
            raise UserError(
                f"average: {there} has '{key}' and {lacking} has not; give checkpoints of one student with the same losses"
            )
        if one[key].shape != other[key].shape:
            raise UserError(
                f"average: '{key}' is {tuple(one[key].shape)} in {name} and {tuple(other[key].shape)} in {other_name}; "
                "give checkpoints of one student"
            )


@torch.no_grad()
def average_with(module: nn.Module, earlier: Mapping[str, Tensor], source: Path) -> None:
    """Puts the mean of a module's weights and earlier ones into the module, in place, whether or not they are sharded over ranks.

    Args:
        module: Its weights are the later ones.
        earlier: Its state dict at an earlier step, whole and on the CPU.
        source: Where that is from, for messages.

    Raises:
        UserError: The state dict is another module's.
    """
    later = module.state_dict()
    # a checkpoint may leave out what is frozen, such as the backbone beneath an adapter
    kept = {name for name, weight in module.named_parameters() if weight.requires_grad} | set(earlier)
    _require_alike(earlier, {key: later[key] for key in later if key in kept}, str(source), "the trained model")
    for key, tensor in later.items():
        if key in kept and tensor.is_floating_point():
            mine = local(tensor)
            mine.copy_(mean([local(shard_like(earlier[key], tensor)).to(mine), mine]))


STATES = ("optimizer_states", "lr_schedulers", "callbacks")
"""What training resumes from, and an average does not have."""


def average_checkpoints(checkpoints: list[str], out: str, overwrite: bool = False) -> None:
    """Writes the average as a checkpoint that export, evaluate, test and predict read; what is not weights is of the last given.

    Args:
        checkpoints: Two or more .ckpt files, or folders of sharded ones.
        out: The checkpoint to write.
        overwrite: Whether one that is there already is replaced.

    Raises:
        UserError: One cannot be read, or they are not of one student; nothing is written.
    """
    from lightning_embed.checkpoints.student import find_config, read_checkpoint
    from lightning_embed.utils.atomic import save_whole

    file, paths = Path(out).expanduser(), [Path(one).expanduser() for one in checkpoints]
    twice = [str(one) for one in paths if paths.count(one) > 1]
    if twice:
        raise UserError(f"average: {twice[0]} is given twice; give each checkpoint once")
    if file.is_dir() or (file.exists() and not overwrite):
        raise UserError(f"--out {file}: is there already; give another file, or --overwrite true")
    read = {str(path): read_checkpoint(path) for path in paths}
    _require_one_student(read)
    weights = average({name: content["state_dict"] for name, content in read.items()})
    last = read[str(paths[-1])]
    content = {key: value for key, value in last.items() if key not in STATES} | {"state_dict": weights}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_whole(content, file)
    except OSError as error:
        raise UserError(f"--out {file}: it cannot be written ({error.strerror})") from None
    steps = ", ".join(f"{content.get('global_step', 0):,}" for content in read.values())
    print(f"wrote {file}: the average of steps {steps}")
    if KEY not in content and find_config(file) is None and find_config(paths[-1]) is not None:
        print(f"the run's configuration is not beside it: use it with --config_of_checkpoint {find_config(paths[-1])}")


def _require_one_student(checkpoints: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises `UserError` where the settings of the checkpoints, or of their runs, as far as they are known, name different students."""
    from lightning_embed.checkpoints.student import find_config, student_settings

    first: tuple[str, dict[str, object]] | None = None
    for path, content in checkpoints.items():
        config = find_config(Path(path))
        if KEY in content:
            settings = content[KEY]["student"]
        elif config is not None:
            settings = student_settings(config)
        else:
            continue
        arguments = settings.get("init_args") or {}
        found = {key: arguments.get(key) for key in ("model", "layers", "pooling", "dim", "rope_theta")}
        if first is None:
            first = path, found
        for key, value in found.items():
            if value != first[1][key]:
                raise UserError(
                    f"average: student.{key} is {first[1][key]} for {first[0]} and {value} for {path}; "
                    "give checkpoints of one student"
                )
