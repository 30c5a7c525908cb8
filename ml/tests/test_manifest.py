import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from arguments import SPACE
from conftest import COUNTS
from csv_data import read_csv
from data import Dataset, default_space, stratified_split, synthetic_dataset
from export import run_onnx
from support import contents, read_json, train_command


def test_the_manifest_describes_the_default_model(synthetic_model: Path) -> None:
    manifest = read_json(synthetic_model / "manifest.json")
    sha256 = hashlib.sha256((synthetic_model / "model.onnx").read_bytes()).hexdigest()
    dataset = synthetic_dataset(seed=0)
    assert {key: manifest[key] for key in list(manifest)[:8]} == {
        "manifestVersion": 1,
        "name": "product-category",
        "version": sha256[:12],
        "sha256": sha256,
        "width": 16,
        "categories": [
            {"code": "AUTOPECAS", "name": "Autopeças"},
            {"code": "INFORMATICA", "name": "Informática"},
            {"code": "MATERIAL_CONSTRUCAO", "name": "Material de construção"},
        ],
        "input": {"name": "input", "space": "synthetic-16"},
        "output": {"name": "output", "kind": "logits"},
    }
    data = dataset.features.astype("<f4").tobytes() + dataset.labels.astype("<i8").tobytes()
    assert manifest["training"] == {
        "data": {"source": "synthetic", "sha256": hashlib.sha256(data).hexdigest(), "rows": 900},
        "epochs": 50,
        "learningRate": 0.01,
        "seed": 0,
        "categoryShares": pytest.approx({c["code"]: 1 / 3 for c in manifest["categories"]}),
        "features": manifest["training"]["features"],
    }
    assert manifest["validation"]["rows"] == 180
    assert list(manifest)[8:] == ["training", "validation"]


def test_the_manifest_has_the_statistics_of_each_feature_of_the_training_rows(
    vectors: Path, vectors_model: Path
) -> None:
    dataset = read_csv(vectors)
    training = stratified_split(dataset.labels, dataset.categories, 0.2, seed=3).training
    rows = dataset.features[training].astype(np.float64)
    assert read_json(vectors_model / "manifest.json")["training"]["features"] == {
        "mean": pytest.approx(rows.mean(axis=0), rel=1e-5),
        "spread": pytest.approx(rows.std(axis=0), rel=1e-5),
        "min": pytest.approx(rows.min(axis=0), rel=1e-5),
        "max": pytest.approx(rows.max(axis=0), rel=1e-5),
    }
    text = (vectors_model / "manifest.json").read_text(encoding="utf-8")
    assert re.search(r'"mean": \[-?\d.*\],\n', text), "a feature stands on a line of its own"


def test_the_space_comes_from_the_files_name_and_the_width(vectors_model: Path) -> None:
    assert read_json(vectors_model / "manifest.json")["input"]["space"] == "csv:vectors-4"


@pytest.mark.parametrize(
    ("source", "space"),
    [
        ("synthetic.csv", "csv:synthetic-2"),
        ("Vetores de março (2).csv", "csv:Vetores-de-mar-o-2--2"),
        ("a:b.csv", "csv:a-b-2"),
        (f"{'x' * 200}.csv", f"csv:{'x' * 94}-2"),
    ],
)
def test_a_default_space_is_a_name_that_the_worker_takes(source: str, space: str) -> None:
    dataset = Dataset(np.zeros((2, 2), np.float32), np.arange(2), ("A", "B"), source, "")
    assert default_space(dataset) == space
    assert SPACE.fullmatch(space)


def test_a_space_and_a_date_are_taken_from_the_command_line(vectors: Path, tmp_path: Path) -> None:
    done = train_command(
        *("--data", vectors, "--epochs", "1", "--out", tmp_path),
        *("--space", "erp-tfidf:v2", "--data-date", "2026-11-20"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    manifest = read_json(tmp_path / "manifest.json")
    assert manifest["input"]["space"] == "erp-tfidf:v2"
    assert manifest["training"]["data"]["date"] == "2026-11-20"
    assert done.stdout.endswith("; feature space erp-tfidf:v2\n")


def test_the_json_files_are_utf8_with_real_accents_and_a_last_newline(synthetic_model: Path) -> None:
    manifest, golden = ((synthetic_model / name).read_bytes() for name in ("manifest.json", "golden.json"))
    assert "Material de construção".encode() in manifest
    assert manifest.startswith(b'{\n  "manifestVersion": 1,\n')
    assert manifest.endswith(b"}\n")
    assert golden.endswith(b"}\n")


def test_width_categories_and_provenance_come_from_the_data_file(vectors: Path, vectors_model: Path) -> None:
    manifest = read_json(vectors_model / "manifest.json")
    assert manifest["width"] == 4
    assert manifest["categories"] == [
        {"code": "AUTOPECAS", "name": "Autopeças"},
        {"code": "FERRAMENTAS_ELETRICAS", "name": "Ferramentas eletricas"},
        {"code": "PAPELARIA", "name": "Papelaria"},
    ]
    training = manifest["training"]
    assert training["data"] == {
        "source": "vectors.csv",
        "sha256": hashlib.sha256(vectors.read_bytes()).hexdigest(),
        "rows": sum(COUNTS.values()),
    }
    # A fifth of each category is validation, and all counts are multiples of 5.
    assert training["categoryShares"] == pytest.approx({c: n / 160 for c, n in sorted(COUNTS.items())})


def test_the_metrics_are_those_of_the_validation_rows(vectors: Path, vectors_model: Path) -> None:
    dataset = read_csv(vectors)
    held_out = stratified_split(dataset.labels, dataset.categories, 0.2, seed=3).validation
    output = run_onnx((vectors_model / "model.onnx").read_bytes(), dataset.features[held_out])
    pairs = list(zip(dataset.labels[held_out].tolist(), output.argmax(axis=1).tolist(), strict=True))
    per_category, f1 = [], []
    for n, code in enumerate(dataset.categories):
        hits = sum(truth == got == n for truth, got in pairs)
        support = sum(truth == n for truth, _ in pairs)
        claimed = sum(got == n for _, got in pairs)
        precision, recall = hits / claimed if claimed else 0, hits / support
        per_category.append(
            {
                "code": code,
                "precision": pytest.approx(precision),
                "recall": pytest.approx(recall),
                "support": support,
            }
        )
        f1.append(2 * precision * recall / (precision + recall) if hits else 0)
    validation = read_json(vectors_model / "manifest.json")["validation"]
    assert 0.4 < validation["accuracy"] < 1, "the categories overlap, or this test shows nothing"
    assert validation == {
        "rows": 32,
        "accuracy": pytest.approx(sum(truth == got for truth, got in pairs) / 32),
        "macroF1": pytest.approx(float(np.mean(f1))),
        "perCategory": per_category,
    }


def test_training_on_a_file_is_repeatable(vectors: Path, vectors_model: Path, tmp_path: Path) -> None:
    done = train_command("--data", vectors, "--epochs", "25", "--seed", "3", "--out", tmp_path)
    assert done.returncode == 0
    assert contents(tmp_path) == contents(vectors_model)


def test_names_version_and_no_validation_are_taken_from_the_command_line(
    vectors: Path, tmp_path: Path
) -> None:
    done = train_command(
        *("--data", vectors, "--epochs", "12", "--validation", "0", "--out", tmp_path),
        *("--category-name", "PAPELARIA=Papelaria e escritório", "--category-name", "AUTOPECAS=Peças"),
        *("--model-version", "2024.1"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    manifest = read_json(tmp_path / "manifest.json")
    assert [c["name"] for c in manifest["categories"]] == [
        "Peças",
        "Ferramentas eletricas",
        "Papelaria e escritório",
    ]
    assert (manifest["version"], manifest["validation"]) == ("2024.1", None)
    assert manifest["training"]["categoryShares"]["AUTOPECAS"] == 0.5
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("epoch")] == ["10", "12"]
