"""The journals of generator and receiver: columns of numbers, a file each."""

from array import array
from collections.abc import Mapping
from pathlib import Path

SENT = {"intended_us": "q", "sent_us": "q", "answered_us": "q", "accepted": "H", "status": "H"}
RECEIVED = {"arrived_us": "q", "intended_us": "q", "endpoint": "i", "stream": "B", "number": "i"}


def open_columns(types: Mapping[str, str]) -> dict[str, "array[int]"]:
    """Empty columns."""
    return {name: array(code) for name, code in types.items()}


def write_columns(folder: Path, name: str, columns: Mapping[str, "array[int]"]) -> None:
    """Write a file a column."""
    folder.mkdir(parents=True, exist_ok=True)
    for column, values in columns.items():
        with (folder / f"{name}.{column}").open("wb") as file:
            values.tofile(file)


def read_columns(folder: Path, name: str, types: Mapping[str, str]) -> dict[str, "array[int]"]:
    """Read columns that `write_columns` wrote."""
    columns = open_columns(types)
    for column, values in columns.items():
        path = folder / f"{name}.{column}"
        with path.open("rb") as file:
            values.fromfile(file, path.stat().st_size // values.itemsize)
    return columns
