from pathlib import Path

import numpy as np
import pytest

from csv_data import read_csv
from errors import TrainingError
from support import write_lines

HEADER = "product_id,f0,f1,category"
GOOD = ["P-1,0.5,-1,AUTO", "P-2,1e-3,2.,INFO", "P-3,.25,+4,AUTO", "P-4,0,0,INFO"]

BAD_FILES = {
    "nothing at all": ("EMPTY_DATA", [], "a.csv is empty"),
    "a header only": ("EMPTY_DATA", [HEADER], "no rows"),
    "no product_id": ("MISSING_COLUMN", ["f0,category", "1,A"], "line 1: no column product_id"),
    "no features": ("MISSING_COLUMN", ["product_id,category", "P,A"], "line 1: no column f0"),
    "no category": ("MISSING_COLUMN", ["product_id,f0", "P,1"], "line 1: no column category"),
    "semicolons": ("MISSING_COLUMN", [HEADER.replace(",", ";")], "commas, not semicolons"),
    "a column twice": (
        "DUPLICATE_COLUMN",
        ["product_id,f0,f0,category"],
        "line 1: column f0 appears 2 times",
    ),
    "a gap": ("FEATURE_COLUMN_GAP", ["product_id,f0,f2,category"], "line 1: 2 feature columns, but no f1"),
    "a short row": (
        "WRONG_CELL_COUNT",
        [HEADER, GOOD[0], "P,1,A"],
        "line 3: expected 4 cells as in the header, got 3",
    ),
    "a long row": (
        "WRONG_CELL_COUNT",
        [HEADER, "P,1,2,A,x"],
        "line 2: expected 4 cells as in the header, got 5",
    ),
    "words": ("UNREADABLE_NUMBER", [HEADER, *GOOD, "P,1,abc,AUTO"], "line 6: f1 is 'abc'"),
    "no number": ("UNREADABLE_NUMBER", [HEADER, "P,,1,AUTO"], "line 2: f0 is ''"),
    "a decimal comma": ("UNREADABLE_NUMBER", [HEADER, 'P,"0,5",1,AUTO'], "with a decimal point"),
    "underscores": ("UNREADABLE_NUMBER", [HEADER, "P,1_000,1,AUTO"], "line 2: f0 is '1_000'"),
    "other digits": ("UNREADABLE_NUMBER", [HEADER, "P,\u0661,1,AUTO"], "line 2: f0 is"),
    "NaN": ("NON_FINITE_FEATURE", [HEADER, GOOD[0], "P,NaN,1,AUTO"], "line 3: f0 is 'NaN'"),
    "infinity": ("NON_FINITE_FEATURE", [HEADER, "P,1,-Infinity,AUTO"], "line 2: f1 is '-Infinity'"),
    "beyond float32": ("NON_FINITE_FEATURE", [HEADER, "P,1,3.5e38,AUTO"], "line 2: f1 is '3.5e38'"),
    "beyond float64": ("NON_FINITE_FEATURE", [HEADER, "P,1,1e999,AUTO"], "line 2: f1 is '1e999'"),
    "no category in a row": ("EMPTY_CATEGORY", [HEADER, *GOOD, "P,1,2,  "], "line 6: the category is empty"),
    "a control character": ("INVALID_CATEGORY", [HEADER, "P,1,2,A\x07B"], "line 2: category 'A\\x07B'"),
    "one category": ("TOO_FEW_CATEGORIES", [HEADER, GOOD[0], GOOD[2]], "every row is AUTO"),
    "one row of a category": (
        "TOO_FEW_ROWS",
        [HEADER, *GOOD, "P,1,2,RARE"],
        "line 6: 1 row of category RARE",
    ),
    "an open quote": ("INVALID_CSV", [HEADER, GOOD[0], '"P,1,2,AUTO'], "line 3: "),
    "a line after blank and quoted ones": (
        "UNREADABLE_NUMBER",
        [HEADER, "", '"P\nwith a line end",1,2,AUTO', "P,x,1,AUTO"],
        "line 5: f0 is 'x'",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_data_is_refused_with_code_and_place(case: str, tmp_path: Path) -> None:
    code, lines, message = BAD_FILES[case]
    path = tmp_path / "a.csv"
    write_lines(path, lines) if lines else path.touch()
    with pytest.raises(TrainingError) as caught:
        read_csv(path, rows_per_category=2)
    assert caught.value.code == code
    assert message in str(caught.value)
    assert "a.csv" in str(caught.value)


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin1.csv"
    # Far into the file: the decoder works in blocks, and must not count from the block's start.
    path.write_bytes(f"{HEADER}\n".encode() + b"P,1,2,AUTO\n" * 5000 + "P,1,2,CONSTRUÇÃO\n".encode("latin-1"))
    with pytest.raises(TrainingError, match=r"^INVALID_CSV: latin1\.csv line 5002: not UTF-8"):
        read_csv(path)


@pytest.mark.parametrize("name", ["absent.csv", "."])
def test_a_path_that_cannot_be_read_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^DATA_UNREADABLE: cannot read "):
        read_csv(tmp_path / name)


def test_rows_keep_their_order_and_numbers(tmp_path: Path) -> None:
    dataset = read_csv(write_lines(tmp_path / "a.csv", [HEADER, *GOOD]))
    assert dataset.features.dtype == np.float32
    assert dataset.features.tolist() == np.float32([[0.5, -1], [1e-3, 2], [0.25, 4], [0, 0]]).tolist()
    assert (dataset.labels.tolist(), dataset.categories) == ([0, 1, 0, 1], ("AUTO", "INFO"))


def test_column_order_other_columns_spaces_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    plain = read_csv(write_lines(tmp_path / "a.csv", [HEADER, *GOOD]))
    path = tmp_path / "b.csv"
    rows = [row.split(",") for row in GOOD]
    shuffled = [f" {f1} ,parafuso, {category} ,{name},{f0}" for name, f0, f1, category in rows]
    text = "\r\n".join(["f1,descricao,category,product_id, f0", *shuffled, ""])
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    other = read_csv(path)
    assert np.array_equal(other.features, plain.features)
    assert (other.labels.tolist(), other.categories) == (plain.labels.tolist(), plain.categories)


def test_feature_columns_are_taken_by_number_not_by_place(tmp_path: Path) -> None:
    names = [f"f{n}" for n in range(11, -1, -1)]
    row = ",".join(str(n) for n in range(11, -1, -1))
    lines = [f"product_id,{','.join(names)},category", f"P,{row},A", f"Q,{row},B"]
    assert read_csv(write_lines(tmp_path / "a.csv", lines)).features[0].tolist() == list(range(12))
