"""Reads real vectors from a CSV file: product_id, f0..fN, category."""

import csv
import hashlib
import io
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data import Dataset
from errors import TrainingError

FEATURE_COLUMN = re.compile(r"f(0|[1-9][0-9]*)")
# float() alone would also take "1_000" and digits of other scripts, which no worker reads as numbers.
NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
NON_FINITE = re.compile(r"\s*[+-]?(nan|inf|infinity)\s*", re.IGNORECASE)
FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Columns:
    """Where a row's cells are: one position for each feature, in order, and the category's."""

    count: int
    features: tuple[int, ...]
    category: int


def read_csv(path: Path, rows_per_category: int = 1) -> Dataset:
    """Read `path` (UTF-8, comma separated, with a header); other columns than the named ones are ignored.

    Width and categories come from the file; the categories are sorted by code. Blank lines are skipped.
    Every category needs `rows_per_category` rows: 2 where a stratified split follows.
    Raises TrainingError with the file's name, the line and what to do; ml/README.md lists the codes.
    """
    content = _read_bytes(path)
    records = _records(content, path.name)
    header = next(records, None)
    if header is None:
        raise TrainingError("EMPTY_DATA", f"{path.name} is empty; it needs a header and rows")
    columns = _columns(header[1], f"{path.name} line {header[0]}")

    values, codes, lines = array("f"), list[str](), array("q")
    for line, cells in records:
        where = f"{path.name} line {line}"
        if len(cells) != columns.count:
            raise TrainingError(
                "WRONG_CELL_COUNT",
                f"{where}: expected {columns.count} cells as in the header, got {len(cells)}; mend the row",
            )
        codes.append(_category(cells[columns.category], where))
        lines.append(line)
        values.extend(_number(cells[at], f"{where}: f{n}") for n, at in enumerate(columns.features))

    categories = _categories(codes, lines, path.name, rows_per_category)
    index = {code: n for n, code in enumerate(categories)}
    return Dataset(
        features=np.array(values, dtype=np.float32).reshape(len(codes), len(columns.features)),
        labels=np.array([index[code] for code in codes], dtype=np.int64),
        categories=categories,
        source=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _read_bytes(path: Path) -> bytes:
    """The whole file at once, so that the sha256 is of the very bytes that were trained on."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrainingError(
            "DATA_UNREADABLE", f"cannot read {path}: {error.strerror}; check the path given with --data"
        ) from error


def _records(content: bytes, name: str) -> Iterator[tuple[int, list[str]]]:
    """Every record that is not blank, with the line (from 1) on which it starts."""
    # utf-8-sig: spreadsheet programs put a byte order mark before the header.
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    start = 1
    try:
        for cells in reader:
            if cells:
                yield start, cells
            start = reader.line_num + 1
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, _first_bad_byte(content)) + 1
        raise TrainingError("INVALID_CSV", f"{name} line {line}: not UTF-8; save it as UTF-8") from error
    except csv.Error as error:
        raise TrainingError("INVALID_CSV", f"{name} line {start}: {error}; mend the quotes") from error


def _first_bad_byte(content: bytes) -> int:
    """Offset of the first byte that is not UTF-8 (the reader's own error counts from its buffer's start)."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return len(content)


def _columns(header: list[str], where: str) -> Columns:
    """Find the columns by their names, in whatever order they stand."""
    names = [name.strip() for name in header]
    wanted = {name for name in names if name in ("product_id", "category") or FEATURE_COLUMN.fullmatch(name)}
    for name in sorted(wanted):
        if names.count(name) > 1:
            raise TrainingError(
                "DUPLICATE_COLUMN", f"{where}: column {name} appears {names.count(name)} times; keep one"
            )
    missing = [name for name in ("product_id", "f0", "category") if name not in wanted]
    if missing:
        hint = "; separate the columns by commas, not semicolons" if ";" in "".join(names) else ""
        raise TrainingError(
            "MISSING_COLUMN",
            f"{where}: no column {', '.join(missing)}; "
            f"the header must be product_id,f0,...,fN,category{hint}",
        )
    width = len(wanted) - 2
    gaps = [f"f{n}" for n in range(width) if f"f{n}" not in wanted]
    if gaps:
        raise TrainingError(
            "FEATURE_COLUMN_GAP",
            f"{where}: {width} feature columns, but no {gaps[0]}; "
            f"number them f0 to f{width - 1} without a gap",
        )
    return Columns(len(names), tuple(names.index(f"f{n}") for n in range(width)), names.index("category"))


def _number(cell: str, where: str) -> float:
    """One feature; it must be finite as float32 too, for that is what the model gets."""
    if NUMBER.fullmatch(cell):
        value = float(cell)
        if abs(value) <= FLOAT32_MAX:
            return value
    elif not NON_FINITE.fullmatch(cell):
        raise TrainingError(
            "UNREADABLE_NUMBER",
            f"{where} is {_quoted(cell)}, not a number; write it like -0.874375, with a decimal point",
        )
    raise TrainingError(
        "NON_FINITE_FEATURE",
        f"{where} is {_quoted(cell)}, not finite in 32 bits; mend the number or remove the row",
    )


def _category(cell: str, where: str) -> str:
    """A row's category code, without the blanks around it that would make it a category of its own."""
    code = cell.strip()
    if not code:
        raise TrainingError("EMPTY_CATEGORY", f"{where}: the category is empty; fill it or remove the row")
    if not code.isprintable():
        raise TrainingError(
            "INVALID_CATEGORY", f"{where}: category {_quoted(code)} has control characters; remove them"
        )
    return code


def _categories(codes: list[str], lines: array, name: str, rows_per_category: int) -> tuple[str, ...]:
    if not codes:
        raise TrainingError("EMPTY_DATA", f"{name} has a header but no rows; add rows to train on")
    rows = Counter(codes)
    categories = tuple(sorted(rows))
    if len(categories) < 2:
        raise TrainingError(
            "TOO_FEW_CATEGORIES",
            f"{name}: every row is {categories[0]}; a categorizer needs rows of at least 2 categories",
        )
    for code in categories:
        if rows[code] < rows_per_category:
            raise TrainingError(
                "TOO_FEW_ROWS",
                f"{name} line {lines[codes.index(code)]}: {rows[code]} row of category {code}, but a "
                f"stratified split needs {rows_per_category}; add rows of it, remove it, "
                "or train with --validation 0",
            )
    return categories


def _quoted(cell: str) -> str:
    """The cell as text for a message, cut short when long."""
    return repr(cell if len(cell) <= 40 else f"{cell[:40]}…")
