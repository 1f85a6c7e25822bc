"""CSV files: one line for each record, whole or not at all."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from voice.publish import publish


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `rows` under a header of `columns`; what a row lacks stays empty."""
    with publish(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_records(path: Path, kind: type, records: Iterable[Any]) -> None:
    """Write dataclass instances of one `kind`, a column for each of its fields."""
    write_table(path, [field.name for field in fields(kind)], map(asdict, records))
