"""How well predicted labels match the true ones."""

from dataclasses import dataclass

import numpy as np

from data import Indexes


@dataclass(frozen=True)
class CategoryScore:
    """precision and recall from 0 to 1 (0 where nothing was predicted or present); support in rows."""

    precision: float
    recall: float
    support: int


@dataclass(frozen=True)
class Scores:
    """accuracy and macro-F1 from 0 to 1; one score for each category, in order."""

    rows: int
    accuracy: float
    macro_f1: float
    per_category: tuple[CategoryScore, ...]


def score(truth: Indexes, predicted: Indexes, categories: int) -> Scores:
    """Compare labels row by row; both have the same number of rows, at least one."""
    confusion = np.zeros((categories, categories), dtype=np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    hits, present, claimed = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    # F1 = 2PR / (P + R) = 2 hits / (present + claimed), which has no 0 / 0 inside.
    f1 = _ratio(2 * hits, present + claimed)
    per_category = zip(_ratio(hits, claimed), _ratio(hits, present), present, strict=True)
    return Scores(
        rows=len(truth),
        accuracy=float(hits.sum() / len(truth)),
        macro_f1=float(f1.mean()),
        per_category=tuple(CategoryScore(float(p), float(r), int(n)) for p, r, n in per_category),
    )


def _ratio(part: Indexes, whole: Indexes) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
