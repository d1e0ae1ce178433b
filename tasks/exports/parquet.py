"""``frames.parquet``: the provenance, typed. The only file that imports pyarrow."""

from itertools import islice
from pathlib import Path

from broker.errors import MissingDependency
from tasks.exports.choice import Choice
from tasks.exports.provenance import WHOLE, columns, real_columns, rows

ROWS_AT_ONCE = 5000
"""Rows of a row group, which is what is in memory at once."""


def write_parquet(choice: Choice, path: Path) -> None:
    """Writes the rows as ``path``: text, 64-bit integers and doubles, nothing where there is no value.

    The file holds no time of its making; the same rows give the same bytes with the same pyarrow.

    Raises:
        MissingDependency: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "Parquet needs pyarrow, which is not installed.",
            "pip install 'hardpose[parquet]', or export as csv.",
        ) from error
    real, names = real_columns(choice), columns(choice)
    types = {name: pyarrow.int64() if name in WHOLE else pyarrow.float64() for name in real | WHOLE}
    schema = pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in names])
    stream = rows(choice)
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(islice(stream, ROWS_AT_ONCE)):
            turned = zip(*some, strict=True)
            arrays = [pyarrow.array(column, field.type) for column, field in zip(turned, schema, strict=True)]
            writer.write_table(pyarrow.table(arrays, schema=schema))
