"""What lies beside the model: manifest.json, which describes it, and golden.json, which proves it."""

import hashlib
import json
import re
from dataclasses import dataclass

import numpy as np
from torch import nn

from data import Dataset, FloatMatrix, Split
from export import INPUT, OUTPUT, TOLERANCE
from metrics import Scores
from network import LEARNING_RATE, logits

KNOWN_NAMES = {
    "AUTOPECAS": "Autopeças",
    "INFORMATICA": "Informática",
    "MATERIAL_CONSTRUCAO": "Material de construção",
}
VERSION_DIGITS = 12
GOLDEN_ROWS_FROM_DATA = 9
GOLDEN_LARGEST_FACTOR = 1024
# A list of numbers, which json.dumps writes on a line each.
NUMBERS = re.compile(r"\[\n(?:\s+-?[0-9][0-9.eE+-]*,?\n)+\s+\]")


@dataclass(frozen=True)
class Training:
    """What was trained: the data, which of its rows, how, and how well (None without validation rows).

    space names what produced the vectors; data_date says when, where that is known.
    """

    dataset: Dataset
    split: Split
    epochs: int
    seed: int
    scores: Scores | None
    space: str
    data_date: str | None = None


def readable_name(code: str, given: dict[str, str]) -> str:
    """The name given for a category, or the known one, or its code made readable (PET_SHOP -> Pet shop)."""
    readable = code.replace("_", " ").strip()
    return given.get(code) or KNOWN_NAMES.get(code) or readable[:1].upper() + readable[1:].lower() or code


def manifest_json(model: bytes, training: Training, names: dict[str, str], version: str | None) -> bytes:
    """manifest.json as UTF-8; without a version, the first 12 digits of the model's sha256 are it."""
    sha256 = hashlib.sha256(model).hexdigest()
    dataset = training.dataset
    manifest = {
        "manifestVersion": 1,
        "name": "product-category",
        "version": version or sha256[:VERSION_DIGITS],
        "sha256": sha256,
        "width": dataset.features.shape[1],
        "categories": [{"code": code, "name": readable_name(code, names)} for code in dataset.categories],
        "input": {"name": INPUT, "space": training.space},
        "output": {"name": OUTPUT, "kind": "logits"},
        "training": {
            "data": {
                "source": dataset.source,
                "sha256": dataset.sha256,
                "rows": len(dataset.labels),
                **({"date": training.data_date} if training.data_date else {}),
            },
            "epochs": training.epochs,
            "learningRate": LEARNING_RATE,
            "seed": training.seed,
            "categoryShares": _shares(dataset, training.split),
            "features": _feature_statistics(dataset.features[training.split.training]),
        },
        "validation": _validation(dataset, training.scores),
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    text = NUMBERS.sub(
        lambda found: re.sub(r"\s+", " ", found[0]).replace("[ ", "[").replace(" ]", "]"), text
    )
    # A file name need not be UTF-8; as \udcXX it stays valid JSON.
    return text.encode(errors="backslashreplace")


def golden_inputs(network: nn.Module, dataset: Dataset, split: Split) -> FloatMatrix:
    """Rows the worker proves the model on: some of each category, zeros, and one of large magnitude."""
    labels = dataset.labels[split.training]
    per_category = max(1, GOLDEN_ROWS_FROM_DATA // len(dataset.categories))
    drawn = [split.training[labels == n][:per_category] for n in range(len(dataset.categories))]
    rows = dataset.features[np.concatenate(drawn)]
    return np.concatenate([rows, np.zeros_like(rows[:1]), _large_row(network, rows)])


def golden_json(network: nn.Module, inputs: FloatMatrix, categories: tuple[str, ...]) -> bytes:
    """golden.json: inputs, PyTorch's logits and the category of each row, by its code.

    One row a line, each number exactly its float32. The codes prove that the manifest names the outputs in
    their order.
    """
    outputs = logits(network, inputs)
    codes = [categories[index] for index in outputs.argmax(axis=1)]
    return (
        f'{{\n  "tolerance": {TOLERANCE},\n'
        f'  "inputs": {_matrix_json(inputs)},\n'
        f'  "logits": {_matrix_json(outputs)},\n'
        f'  "categories": {json.dumps(codes, ensure_ascii=False)}\n}}\n'
    ).encode()


def _large_row(network: nn.Module, rows: FloatMatrix) -> FloatMatrix:
    """A row times 1024, or times less where float32 rounding alone could use up the tolerance.

    Another processor may add in another order, and must still come within the tolerance.
    """
    factor, row = GOLDEN_LARGEST_FACTOR, rows[:1].astype(np.float64)
    while factor > 1 and _rounding(network, row * factor) > TOLERANCE:
        factor //= 2
    return rows[:1] * np.float32(factor)


def _rounding(network: nn.Module, features: np.ndarray) -> float:
    """What rounding to float32 may add to a logit: a unit in the last place of all its terms together.

    The rounding seen is some ten times less, because the errors of single terms cancel out.
    """
    weights = [np.abs(parameter.detach().double().numpy()) for parameter in network.parameters()]
    hidden = np.abs(features) @ weights[0].T + weights[1]
    return float((hidden @ weights[2].T + weights[3]).max() * np.finfo(np.float32).eps)


def _shares(dataset: Dataset, split: Split) -> dict[str, float]:
    counts = np.bincount(dataset.labels[split.training], minlength=len(dataset.categories))
    shares = counts / counts.sum()
    return {code: float(share) for code, share in zip(dataset.categories, shares, strict=True)}


def _feature_statistics(features: FloatMatrix) -> dict[str, list[float]]:
    """Mean, standard deviation, smallest and largest value of each feature, to six digits."""
    values = features.astype(np.float64)
    return {
        "mean": _rounded(values.mean(axis=0)),
        "spread": _rounded(values.std(axis=0)),
        "min": _rounded(values.min(axis=0)),
        "max": _rounded(values.max(axis=0)),
    }


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _validation(dataset: Dataset, scores: Scores | None) -> dict[str, object] | None:
    if scores is None:
        return None
    return {
        "rows": scores.rows,
        "accuracy": scores.accuracy,
        "macroF1": scores.macro_f1,
        "perCategory": [
            {"code": code, "precision": each.precision, "recall": each.recall, "support": each.support}
            for code, each in zip(dataset.categories, scores.per_category, strict=True)
        ],
    }


def _matrix_json(matrix: FloatMatrix) -> str:
    # A float32 widened to 64 bits is written with all its digits, so reading it back loses nothing.
    rows = ",\n    ".join(json.dumps(row, allow_nan=False) for row in matrix.astype(np.float64).tolist())
    return f"[\n    {rows}\n  ]"
