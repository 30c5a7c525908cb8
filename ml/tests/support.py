"""What the tests share: the repository's paths, the real command, small data files."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "ml" / "train_product_category.py"
NAMES = ("golden.json", "manifest.json", "model.onnx")


def train_command(*arguments: str | Path, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """Run the training as a process of its own, from any folder."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in a folder, hidden ones too, by its path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def vectors_csv(path: Path, counts: dict[str, int], width: int = 4, seed: int = 7) -> Path:
    """A data file of overlapping categories: good enough to train on, too mixed to get all right."""
    rng = np.random.default_rng(seed)
    lines = [",".join(["product_id", *(f"f{n}" for n in range(width)), "category"])]
    for centre, (code, count) in enumerate(counts.items()):
        for vector in rng.normal(centre, 1.0, (count, width)):
            lines.append(",".join([f"P-{len(lines)}", *(f"{x:.6f}" for x in vector), code]))
    return write_lines(path, lines)


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
