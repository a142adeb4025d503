"""What torch keeps to itself: the table of a sharded checkpoint, the store of torchrun's agents, and what the CPU computes in."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed import PrefixStore, Store, TCPStore
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta

TABLE = ".metadata"
"""The file of a sharded checkpoint that says which tensors it holds, and where in which file; without it none can be read."""
OF_TABLES = {
    "torch.distributed.checkpoint.metadata": (
        "BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties",
        "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
    ),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.serialization": ("_get_layout",),
    "torch": ("Size",),
    "pathlib": ("PosixPath", "WindowsPath"),
}  # fmt: skip
"""Module -> classes and functions that torch pickles the table with, and types of numbers; a checkpoint that needs another is refused."""


class _Table(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """One of the table's classes or a type of numbers, or an error."""
        known = name in OF_TABLES.get(module, ())
        found = super().find_class(module, name) if known or module == "torch" else None
        if known or isinstance(found, torch.dtype):
            return found
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in it")


class TensorReader(dcp.FileSystemReader):
    """torch's reader of sharded tensors, which here runs no pickled code; without it reading a checkpoint could run anything."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The table of the folder's tensors."""
        with self.fs.create_stream(self.fs.concat_path(self.path, TABLE), "rb") as file:
            table: Metadata = _Table(file).load()
        table.storage_meta = table.storage_meta or StorageMeta()
        table.storage_meta.load_id = self.load_id
        return table


def ends_of_shards(folder: Path) -> dict[str, int]:
    """File -> the bytes that it must have at least, to hold what the table places in it; without it a shard cut short is not noticed.

    Args:
        folder: A sharded checkpoint.
    """
    places: Any = TensorReader(folder).read_metadata().storage_data
    ends: dict[str, int] = {}
    for place in places.values():
        ends[place.relative_path] = max(ends.get(place.relative_path, 0), place.offset + place.length)
    return ends


def store_of_agents(prefix: str) -> Store | None:
    """The store that torchrun's agents keep for the processes they start; None where torchrun did not start this one.

    It is there before the process group is. Without it the ranks could not agree on a run's folder, and each would make its own.

    Args:
        prefix: Stands before all keys; the number of the attempt is added, since a restart finds the same store.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    agents = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    return PrefixStore(f"{prefix}/{attempt}", agents)


def cpu_has_bf16() -> bool:
    """Whether this CPU has instructions for matrix products in bfloat16, as oneDNN sees it; without them they take many times as long."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
