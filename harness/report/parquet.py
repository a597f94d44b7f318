"""samples.parquet and items.parquet: every observation of a run, for other programs.

records.jsonl ─ frames ─▶ Arrow tables, their units in the metadata ─▶ two files
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness import records
from harness.errors import PrerequisiteError, install_hint
from harness.report.formats import Material

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def files(material: Material) -> dict[str, bytes]:
    """`samples.parquet` and `items.parquet`.

    Raises:
        PrerequisiteError: pyarrow is not installed.
        RecordError: the run's records cannot be read.
    """
    try:
        import pyarrow.parquet  # noqa: F401 - whether it is there
    except ImportError as error:
        raise PrerequisiteError(
            f"pyarrow cannot be imported: {error}",
            hint=install_hint('"sllm-harness[parquet]"'),
            reason="pyarrow_missing",
        ) from error
    from harness import frames

    samples, items = frames.observations(records.read(material.folder / "records.jsonl").records)
    return {"samples.parquet": _written(samples), "items.parquet": _written(items)}


def _written(frame: pd.DataFrame) -> bytes:
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(_table(frame), out, compression="zstd")
    return out.getvalue()


def _table(frame: pd.DataFrame) -> pa.Table:
    """A frame as Arrow: text by dictionary, units in the metadata of the fields.

    Units by metric are those of `value`, whose column `unit` names them row by row, too.
    """
    import pyarrow as pa

    units: Mapping[str, str] = frame.attrs["units"]
    fields = []
    for name in frame.columns:
        own = {name: units[name]} if name in units else {}
        if name == "value":
            own = dict(units)
        metadata = {"units": json.dumps(own)} if own else None
        fields.append(pa.field(name, _kind(frame[name].dtype), metadata=metadata))
    table = pa.Table.from_pandas(frame, schema=pa.schema(fields), preserve_index=False)
    # What pandas adds names its own version; the types say all that matters.
    return table.replace_schema_metadata({"units": json.dumps(dict(units))})


def _kind(dtype: Any) -> pa.DataType:
    import pyarrow as pa

    kinds = {"int64": pa.int64(), "Int64": pa.int64(), "float64": pa.float64()}
    kinds |= {"bool": pa.bool_(), "boolean": pa.bool_()}
    return kinds.get(str(dtype), pa.dictionary(pa.int32(), pa.string()))
