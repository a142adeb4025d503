"""Reads Parquet and Arrow files, whatever types their columns have, into one memory-mapped table of plain types.

String views, dictionaries, decimals, lists of a fixed size and the like become strings, numbers and lists; a column that has no value
takes the type that it has in other files, and whole numbers become fractions where another file has fractions.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from lightning_embed.compat.datasets import cache_folder
from lightning_embed.datamodules.sources.columns import role_of
from lightning_embed.datamodules.sources.files import fingerprint, open_bytes
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.datamodules.sources.table import Table
from lightning_embed.errors import UserError
from lightning_embed.utils.atomic import whole_file
from lightning_embed.utils.version import __version__

READ = 1_000
"""Rows of a batch."""
INT64_DIGITS = 18
BEGINNINGS = {"parquet": b"PAR1", "arrow": b"ARROW1"}


def read(source: Source, files: list[str], name: str) -> Table:
    """A table of the rows of some files, made once and kept in the cache.

    Args:
        source: Whose files these are.
        files: Parquet, or Arrow streams or files.
        name: `parquet` or `arrow`.

    Raises:
        UserError: If a file cannot be read, or a column's types in several files do not go together.
    """
    import pyarrow as pa

    kept = (
        cache_folder() / "lightning_embed" / f"{fingerprint('arrow', __version__, name, files, source.columns)}.arrow"
    )
    if not kept.is_file():
        schema = _together(source, {file: _schema(source, file, name) for file in files})
        with whole_file(kept) as partial, pa.ipc.new_stream(partial, schema) as stream:
            for file in files:
                for batch in _batches(source, file, name):
                    stream.write_batch(_cast(batch, schema, source, file))
    return Table([str(kept)])


def plain(source: Source, table: Table) -> Table:
    """The table itself, or a copy in the cache where a column has a type that is not plain.

    Args:
        source: Whose table it is.
        table: Rows in Arrow streams.
    """
    return table if _plain_schema(source, table.schema).equals(table.schema) else read(source, table.files, "arrow")


def _schema(source: Source, file: str, name: str) -> Any:
    """A file's columns, in plain types."""
    with _open(source, file, name) as opened:
        return _plain_schema(source, opened.schema_arrow if name == "parquet" else opened.schema)


def _plain_schema(source: Source, schema: Any) -> Any:
    import pyarrow as pa

    fields = []
    for field in schema:
        text = role_of(source, field.name, schema.names) is not None
        fields.append(pa.field(field.name, plain_type(field.type, text)))
    return pa.schema(fields)


def plain_type(kind: Any, bytes_are_text: bool = False) -> Any:
    """The plain type that holds what an Arrow type holds; the type itself where it is plain, or nothing that is read here.

    Args:
        kind: The Arrow type.
        bytes_are_text: Whether bytes are taken for UTF-8.
    """
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return plain_type(kind.value_type, bytes_are_text)
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type, bytes_are_text)
    if types.is_string_view(kind):
        return pa.string()
    if types.is_float16(kind):
        return pa.float32()  # Arrow computes little in halves
    if bytes_are_text and (types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)):
        return pa.string()
    if types.is_decimal(kind):
        return pa.int64() if kind.scale == 0 and kind.precision <= INT64_DIGITS else pa.float64()
    if types.is_large_list(kind):
        return pa.large_list(plain_type(kind.value_type, bytes_are_text))
    if types.is_list(kind) or types.is_fixed_size_list(kind) or _is_view(kind):
        return pa.list_(plain_type(kind.value_type, bytes_are_text))
    if types.is_struct(kind):
        return pa.struct([(field.name, plain_type(field.type, bytes_are_text)) for field in kind])
    return kind


def _is_view(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)


def _together(source: Source, schemas: Mapping[str, Any]) -> Any:
    """One schema for all files: each column's type is the one that holds those of all files."""
    import pyarrow as pa

    fields: dict[str, Any] = {}
    first: dict[str, str] = {}
    for file, schema in schemas.items():
        for field in schema:
            one = pa.schema([field])
            before = fields.get(field.name)
            try:
                both = one if before is None else pa.unify_schemas([before, one], promote_options="permissive")
            except (pa.ArrowTypeError, pa.ArrowInvalid):
                assert before is not None
                raise UserError(
                    f"source '{source.title}': column '{field.name}' holds {field.type} in {file} and {before.field(0).type} in "
                    f"{first[field.name]}; make one source of each, or give both the same type"
                ) from None
            if before is None or before != both:
                first[field.name] = file
            fields[field.name] = both
    return pa.schema([one.field(0) for one in fields.values()])


def _open(source: Source, file: str, name: str) -> Any:
    """A Parquet file, or a reader of Arrow's stream or file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open(file, "rb") as stream:
            packed = not stream.read(6).startswith(BEGINNINGS[name]) and file.endswith((".gz", ".zst", ".zstd"))
        content = pa.BufferReader(open_bytes(file).read()) if packed else file
        if name == "parquet":
            return pq.ParquetFile(content)
        mapped = content if packed else pa.OSFile(file)
        return pa.ipc.open_stream(mapped) if _is_stream(mapped) else pa.ipc.open_file(mapped)
    except Exception as error:  # any of Arrow's errors
        raise _unreadable(source, file, name, error) from None


def row_count(source: Source, file: str, name: str) -> int:
    """How many rows a file has.

    Args:
        source: Whose file it is.
        file: A Parquet or Arrow file.
        name: `parquet` or `arrow`.
    """
    if name == "parquet":
        with _open(source, file, name) as opened:
            return int(opened.metadata.num_rows)
    return sum(map(len, _batches(source, file, name)))


def _is_stream(opened: Any) -> bool:
    head = opened.read(6)
    opened.seek(0)
    return not head.startswith(BEGINNINGS["arrow"])


def _batches(source: Source, file: str, name: str) -> Iterator[Any]:
    """The record batches of a file."""
    try:
        opened = _open(source, file, name)
        if name == "parquet":
            yield from opened.iter_batches(READ)
        elif hasattr(opened, "num_record_batches"):
            yield from (opened.get_batch(number) for number in range(opened.num_record_batches))
        else:
            yield from opened
    except UserError:
        raise
    except Exception as error:  # any of Arrow's errors
        raise _unreadable(source, file, name, error) from None


def _unreadable(source: Source, file: str, name: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(f"source '{source.title}': {file} could not be read as {name}: {reason}")


def _cast(batch: Any, schema: Any, source: Source, file: str) -> Any:
    """A batch with the columns of a schema; those that it lacks have no values."""
    import pyarrow as pa

    columns = []
    for field in schema:
        place = batch.schema.get_field_index(field.name)
        try:
            columns.append(
                pa.nulls(len(batch), field.type) if place < 0 else _cast_column(batch.column(place), field.type)
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise UserError(
                f"source '{source.title}': column '{field.name}' of {file} holds {batch.schema.field(place).type}, which does not become "
                f"{field.type} ({str(error).splitlines()[0][:100]})"
            ) from None
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast_column(values: Any, kind: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if values.type == kind:
        return values
    if isinstance(values.type, pa.BaseExtensionType):
        return _cast_column(values.storage, kind)
    if pa.types.is_run_end_encoded(values.type):
        return _cast_column(pc.run_end_decode(values), kind)
    if _is_view(values.type):  # Arrow's own cast gives broken arrays
        return pa.array(values.to_pylist(), kind)
    return values.cast(kind, safe=False)
