"""The rows to train on, synthetic or made elsewhere, and their stratified split."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
import numpy.typing as npt

FloatMatrix = npt.NDArray[np.float32]
Indexes = npt.NDArray[np.int64]

SYNTHETIC_CATEGORIES = ("AUTOPECAS", "INFORMATICA", "MATERIAL_CONSTRUCAO")
SYNTHETIC_CENTRES = (0.0, 3.0, -3.0)
SYNTHETIC_SD = 0.5
SYNTHETIC_ROWS_PER_CATEGORY = 300
SYNTHETIC_WIDTH = 16
SYNTHETIC = "synthetic"
SPACE_LENGTH = 100


@dataclass(frozen=True)
class Dataset:
    """Labelled feature vectors.

    features: float32, rows x width, all finite. labels: int64, rows, indexes into `categories`.
    categories: codes in the order of the network's outputs. source: "synthetic" or a file's base name.
    sha256: hex of the file's bytes, or of the synthetic values and labels (little-endian float32, int64).
    """

    features: FloatMatrix
    labels: Indexes
    categories: tuple[str, ...]
    source: str
    sha256: str


@dataclass(frozen=True)
class Split:
    """Row indexes of a data set, ascending; every row is in exactly one of the two."""

    training: Indexes
    validation: Indexes


def synthetic_dataset(seed: int) -> Dataset:
    """900 rows of width 16: per category 300 from a normal distribution around its own centre."""
    rng = np.random.default_rng(seed)
    shape = (SYNTHETIC_ROWS_PER_CATEGORY, SYNTHETIC_WIDTH)
    blocks = [rng.normal(centre, SYNTHETIC_SD, shape) for centre in SYNTHETIC_CENTRES]
    features = np.concatenate(blocks).astype("<f4")
    labels = np.repeat(np.arange(len(SYNTHETIC_CATEGORIES), dtype="<i8"), SYNTHETIC_ROWS_PER_CATEGORY)
    sha256 = hashlib.sha256(features.tobytes() + labels.tobytes()).hexdigest()
    return Dataset(features, labels, SYNTHETIC_CATEGORIES, SYNTHETIC, sha256)


def default_space(dataset: Dataset) -> str:
    """The feature space of data that nobody named one for: `synthetic-16`, `csv:vectors-train-16`.

    It is made from the file's name and the width, not from the numbers: a file that is exported again under
    its name stays in its space, and files that may come from different vectorizers are kept apart.
    """
    width = dataset.features.shape[1]
    if dataset.source == SYNTHETIC:
        return f"{SYNTHETIC}-{width}"
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", PurePath(dataset.source).stem)
    return f"csv:{stem[: SPACE_LENGTH - len(f'csv:-{width}')]}-{width}"


def stratified_split(labels: Indexes, categories: tuple[str, ...], fraction: float, seed: int) -> Split:
    """Put `fraction` (0 <= fraction < 1) of each category aside for validation.

    Each category's share is rounded to whole rows, but keeps at least one row on either side, so that every
    category is both learnt and measured. With fraction 0 the validation side is empty.
    Raises ValueError when a category has fewer than 2 rows, which the reader of a file refuses first.
    """
    if fraction == 0:
        return Split(np.arange(len(labels)), np.arange(0))
    rng = np.random.default_rng(seed)
    validation = []
    for index, code in enumerate(categories):
        rows = np.flatnonzero(labels == index)
        if len(rows) < 2:
            raise ValueError(f"category {code} has {len(rows)} rows; a stratified split needs 2")
        count = min(max(int(fraction * len(rows) + 0.5), 1), len(rows) - 1)
        validation.append(rng.permutation(rows)[:count])
    held_out = np.sort(np.concatenate(validation))
    return Split(np.setdiff1d(np.arange(len(labels)), held_out), held_out)
