"""Acceptance on vectors that nobody here made up; they are not part of the repository."""

import os
from pathlib import Path

import pytest

from csv_data import read_csv
from export import run_onnx
from support import train_command

FOLDER = Path(os.environ.get("NFE16_DIR") or "nfe16")
FILES = [FOLDER / name for name in ("nfe16-train.csv", "nfe16-test.csv")]
ABSENT = [path for path in FILES if not path.is_file()]


@pytest.mark.skipif(bool(ABSENT), reason=f"no real vectors: {[*ABSENT, ''][0]} is absent (set NFE16_DIR)")
def test_real_invoices_are_categorized(tmp_path: Path) -> None:
    done = train_command("--data", FILES[0], "--epochs", "600", "--out", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    unseen = read_csv(FILES[1])
    predicted = run_onnx((tmp_path / "model.onnx").read_bytes(), unseen.features).argmax(axis=1)
    assert float((predicted == unseen.labels).mean()) >= 0.88
