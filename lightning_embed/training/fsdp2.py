"""FSDP2, the strategy for weights that are to be sharded over devices; `ddp`, Lightning's own, is the other one.

Both take `--trainer.precision bf16-mixed`: float32 weights, gradients and optimizer state, products in bfloat16. FSDP2 also gathers the
weights in bfloat16, and reduces gradients in float32.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.optim import Optimizer

from lightning_embed.compat.lightning import set_mesh_sizes, turn_off_inference_mode
from lightning_embed.distributed.sharded_checkpoint import (
    OPTIMIZER,
    WEIGHTS,
    is_sharded_checkpoint,
    read_into,
    save,
    shard_optimizer_state,
)
from lightning_embed.distributed.tensors import shard_like, unshard, unshard_state
from lightning_embed.errors import UserError, in_one_line
from lightning_embed.training.sharding import shard_encoder, shard_heads
from lightning_embed.utils.atomic import remove
from lightning_embed.utils.numbers import check_number

if TYPE_CHECKING:
    from lightning_embed.encoders.teacher import FrozenEncoder
    from lightning_embed.encoders.text_encoder import TextEncoder

POLICIES = {
    "32-true": MixedPrecisionPolicy(),
    "bf16-mixed": MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32),
}
"""trainer.precision -> what sharded weights are gathered and reduced in."""
INSTEAD = {
    "fsdp": "is FSDP1, which clips no gradients by their norm and runs on GPUs alone; take fsdp2",
    "deepspeed": "keeps optimizer and checkpoints to itself, and a run could not go on elsewhere; take fsdp2",
    "modelparallelstrategy": "shards nothing by itself; take fsdp2",
}
"""How the names of strategies that are refused begin, and why."""


class FSDP2(ModelParallelStrategy):
    """Shards weights, gradients and optimizer state over the devices: `--trainer.strategy fsdp2`.

    Zhao et al. 2023, *PyTorch FSDP* (arXiv 2304.11277), by torch's `fully_shard`. With `replicate` > 1 each group of W / replicate devices
    holds all shards, and gradients are averaged over the groups (HSDP): for hosts with slow links between them, one group a host.

    Args:
        replicate: Groups of devices that hold all shards, ≥ 1.
        shard: Devices of a group; None: W / replicate.
        save_distributed_checkpoint: Whether a checkpoint is a folder into which each rank writes its shards; else one file, for which
            rank 0 gathers all.
    """

    def __init__(self, replicate: int = 1, shard: int | None = None, save_distributed_checkpoint: bool = False) -> None:
        super().__init__(save_distributed_checkpoint=save_distributed_checkpoint)
        check_number("strategy fsdp2: replicate", replicate, least=1, whole=True)
        check_number("strategy fsdp2: shard", shard, least=1, whole=True, optional=True)
        self.replicate, self.shard = replicate, shard
        self.save_distributed_checkpoint = save_distributed_checkpoint
        self.mesh: DeviceMesh | None = None

    @property
    def policy(self) -> MixedPrecisionPolicy:
        """What sharded weights are gathered and reduced in.

        Raises:
            UserError: For another precision than 32-true and bf16-mixed.
        """
        check_precision(self.precision_plugin.precision, sharded=True)
        return POLICIES[self.precision_plugin.precision]

    def set_world_ranks(self) -> None:
        """Lightning's, once it knows the devices; and here they are held against the sizes, before any process is started."""
        super().set_world_ranks()
        _ = self.policy
        world = self.num_nodes * self.num_processes
        shard = world // max(1, self.replicate) if self.shard is None else self.shard
        if self.replicate < 1 or shard < 1 or self.replicate * shard != world:
            raise UserError(
                f"strategy fsdp2: replicate {self.replicate} x shard {'(not given)' if self.shard is None else self.shard} must be "
                f"the number of devices, {world}; change one of them, trainer.devices or trainer.num_nodes"
            )
        self._sizes = (self.replicate, shard)

    def setup_environment(self) -> None:
        """Starts the process group and lays out the mesh of ranks."""
        set_mesh_sizes(self, data_parallel=self.world_size, tensor_parallel=1)
        super().setup_environment()
        if self.replicate == 1:
            self.mesh = self.device_mesh["data_parallel"]
        else:
            self.mesh = init_device_mesh(self.root_device.type, self._sizes, mesh_dim_names=("replicate", "shard"))

    def setup(self, trainer: L.Trainer) -> None:
        """Lightning's; no loop runs in inference mode, whose tensors a sharded module would keep."""
        turn_off_inference_mode(trainer)
        super().setup(trainer)

    def shard_weights(
        self, student: "TextEncoder", heads: Iterable[nn.Module | None], teachers: Iterable["FrozenEncoder"]
    ) -> None:
        """Shards a student, its heads and, when they are loaded, some teachers; those that are sharded stay as they are.

        Args:
            student: The encoder that trains.
            heads: What trains beside it.
            teachers: Frozen encoders.
        """
        mesh, policy = self.mesh, self.policy
        assert mesh is not None
        shard_encoder(student, mesh, policy)
        shard_heads(heads, mesh)
        for teacher in teachers:
            teacher.when_loaded(lambda encoder: shard_encoder(encoder, mesh, policy, keep_root=False))

    def post_backward(self, closure_loss: Tensor) -> None:
        """Gives what took no part in a step, such as a loss at rest, a gradient of 0, so that the optimizer counts its steps alike.

        Args:
            closure_loss: The loss.
        """
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The weights: this rank's shards for a folder, else all of them on rank 0."""
        assert self.lightning_module is not None
        return (
            self.lightning_module.state_dict()
            if self.save_distributed_checkpoint
            else unshard_state(self.lightning_module)
        )

    # torch.distributed.checkpoint.state_dict gathers weights here, but neither the optimizer's state, nor does it load anything:
    # - its get_optimizer_state_dict takes a step with an optimizer that has taken none, so a run resumed from its start counts one more;
    # - its set_optimizer_state_dict wants states by name, and those of a file, of every strategy, are by position;
    # - its set_model_state_dict, with strict=True, keeps the weights that a whole state dict lacks as they are.

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The optimizer's state: this rank's shards by parameter's name for a folder, else all of it, as on one device, on rank 0."""
        optimizer = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        saved = optimizer.state_dict()
        if not self.save_distributed_checkpoint:
            state: dict[int, dict[str, Any]] = {}
            for i, one in sorted(saved["state"].items()):
                whole = {key: unshard(value) for key, value in one.items()}
                if self.is_global_zero:  # the others take part, and keep nothing
                    state[i] = whole
            return saved | {"state": state} if self.is_global_zero else {}
        assert self.lightning_module is not None
        name_of = {id(p): name for name, p in self.lightning_module.state_dict(keep_vars=True).items()}
        groups = optimizer.param_groups
        names = [[name_of[id(p)] for p in group["params"]] for group in groups]
        every = [name for group in names for name in group]
        return {
            "state": {every[i]: one for i, one in saved["state"].items()},
            "param_groups": [g | {"params": n} for g, n in zip(saved["param_groups"], names, strict=True)],
        }

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        """Writes a folder or a file; what stands there is replaced once the new one is whole.

        Args:
            checkpoint: What Lightning collected.
            filepath: Where; rank 0's counts.
            storage_options: None.
        """
        path = Path(self.broadcast(filepath))
        if not self.save_distributed_checkpoint:
            if self.is_global_zero:
                if is_sharded_checkpoint(path):  # Lightning's own writer puts no file where a folder is
                    remove(path)
                self.checkpoint_io.save_checkpoint(checkpoint, path)
            return
        tensors = {WEIGHTS + name: value for name, value in checkpoint.pop("state_dict").items()}
        optimizers = checkpoint.pop("optimizer_states", [])
        for i, one in enumerate(optimizers):
            tensors |= {
                f"{OPTIMIZER.format(i)}{name}.{key}": value
                for name, state in one["state"].items()
                for key, value in state.items()
            }
        save(
            path, tensors, checkpoint | {"optimizer_states": [{"param_groups": o["param_groups"]} for o in optimizers]}
        )

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Reads a folder or a file, of whatever strategy and world size, into this rank's shards; returns the rest.

        Args:
            checkpoint_path: Where; rank 0's counts.
            weights_only: Not asked: nothing else is ever read.

        Raises:
            UserError: It cannot be read, or is one of another model.
        """
        path = Path(self.broadcast(checkpoint_path))
        assert self.lightning_module is not None
        if is_sharded_checkpoint(path):
            return read_into(path, self.lightning_module, self.optimizers)
        checkpoint: dict[str, Any] = torch.load(path, mmap=True, map_location="cpu", weights_only=True)
        own, state = self.lightning_module.state_dict(), checkpoint.pop("state_dict")
        placed = {name: shard_like(value, own[name]) if name in own else value for name, value in state.items()}
        try:
            self.lightning_module.load_state_dict(placed, strict=True)
        except RuntimeError as error:
            reason = in_one_line(error)
            raise UserError(f"{path}: the checkpoint is of another model ({reason})") from None
        for optimizer, saved in zip(self.optimizers, checkpoint.get("optimizer_states", []), strict=False):
            shard_optimizer_state(saved, optimizer)
        return checkpoint


StrategyRegistry.register(
    "fsdp2", FSDP2, description="Shards weights, gradients and optimizer state (FSDP2)", override=True
)


def check_precision(precision: str, sharded: bool) -> None:
    """Raises `UserError` for a precision that would spoil the training.

    Args:
        precision: trainer.precision.
        sharded: Whether the strategy is `fsdp2`.
    """
    if precision in ("bf16-true", "16-true"):
        raise UserError(
            f"trainer.precision {precision}: it rounds the weights that train, and the rotary frequencies, of which long texts then get "
            "wrong positions; take bf16-mixed"
        )
    if sharded and precision not in POLICIES:
        raise UserError(f"trainer.precision {precision}: fsdp2 takes 32-true or bf16-mixed")


def check_strategy(strategy: Any, precision: Any) -> None:
    """Raises `UserError`, before anything is loaded, for a strategy or a precision that is not to be used.

    Args:
        strategy: trainer.strategy: a name, or what has a `class_path`.
        precision: trainer.precision; None: 32-true; `auto` is either of those that are to be used.
    """
    given = strategy if isinstance(strategy, str) else getattr(strategy, "class_path", "")
    name = given.rpartition(".")[2].lower()
    for begin, why in INSTEAD.items():
        if name.startswith(begin) and name != "fsdp2":
            raise UserError(
                f"trainer.strategy {given}: it {why} (weights sharded over the devices) or ddp (whole on each)"
            )
    known = StrategyRegistry.available_strategies()
    if isinstance(strategy, str) and name not in ("auto", *known):
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"trainer.strategy {given}: there is no such strategy; {hint}Take ddp, fsdp2 or auto")
    unified = {"bf16": "bf16-mixed", "16": "16-mixed", "32": "32-true"}
    asked = "32-true" if precision in (None, "auto") else str(precision)
    check_precision(unified.get(asked, asked), sharded=name == "fsdp2")
