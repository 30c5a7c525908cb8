from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from support import NAMES, contents, read_json, train_command
from train_product_category import main


def session(folder: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(folder / "model.onnx"))


def test_a_second_run_gives_the_same_bytes(synthetic_model: Path, tmp_path: Path) -> None:
    assert train_command("--out", tmp_path).returncode == 0
    assert contents(tmp_path) == contents(synthetic_model)
    assert tuple(contents(tmp_path)) == NAMES


def test_another_seed_gives_another_model(synthetic_model: Path, tmp_path: Path) -> None:
    assert main(["--seed", "1", "--out", str(tmp_path)]) == 0
    assert contents(tmp_path)["model.onnx"] != contents(synthetic_model)["model.onnx"]


def test_the_model_is_opset_17_with_named_ends_and_a_dynamic_batch(synthetic_model: Path) -> None:
    model = onnx.load(synthetic_model / "model.onnx")
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    loaded = session(synthetic_model)
    assert [(i.name, i.shape, i.type) for i in loaded.get_inputs()] == [
        ("input", ["batch_size", 16], "tensor(float)")
    ]
    assert [(o.name, o.shape, o.type) for o in loaded.get_outputs()] == [
        ("output", ["batch_size", 3], "tensor(float)")
    ]


def test_the_weights_are_inside_the_file(synthetic_model: Path) -> None:
    model = onnx.load(synthetic_model / "model.onnx", load_external_data=False)
    shapes = sorted(tuple(weight.dims) for weight in model.graph.initializer)
    assert shapes == [(3,), (3, 32), (32,), (32, 16)]
    assert all(weight.data_location == onnx.TensorProto.DEFAULT for weight in model.graph.initializer)


def test_the_file_names_no_path_and_no_build(synthetic_model: Path) -> None:
    model = onnx.load(synthetic_model / "model.onnx")
    assert (model.producer_version, model.doc_string, len(model.metadata_props)) == ("", "", 0)
    assert all(node.doc_string == "" for node in model.graph.node)
    assert str(Path.cwd()).encode() not in model.SerializeToString()


@pytest.mark.parametrize("fixture", ["synthetic_model", "vectors_model"])
def test_the_golden_rows_come_out_of_the_file(fixture: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(fixture)
    golden = read_json(folder / "golden.json")
    inputs = np.array(golden["inputs"])
    assert golden["tolerance"] == 1e-4
    output = session(folder).run(["output"], {"input": inputs.astype(np.float32)})[0]
    assert np.abs(output - np.array(golden["logits"])).max() <= golden["tolerance"]


def test_golden_numbers_are_exact_float32(synthetic_model: Path) -> None:
    golden = read_json(synthetic_model / "golden.json")
    for matrix in (np.array(golden["inputs"]), np.array(golden["logits"])):
        assert np.array_equal(matrix, matrix.astype(np.float32).astype(np.float64))


@pytest.mark.parametrize("fixture", ["synthetic_model", "vectors_model"])
def test_the_golden_rows_name_the_category_that_comes_out(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(fixture)
    codes = [category["code"] for category in read_json(folder / "manifest.json")["categories"]]
    golden = read_json(folder / "golden.json")
    winners = np.array(golden["logits"]).argmax(axis=1)
    assert golden["categories"] == [codes[winner] for winner in winners]


def test_golden_rows_cover_every_category_zeros_and_a_large_row(synthetic_model: Path) -> None:
    golden = read_json(synthetic_model / "golden.json")
    inputs, winners = np.array(golden["inputs"]), np.array(golden["logits"]).argmax(axis=1)
    assert 8 <= len(inputs) <= 12
    assert set(winners) == {0, 1, 2}
    assert np.count_nonzero((inputs == 0).all(axis=1)) == 1
    assert np.abs(inputs).max() > 10


def test_synthetic_categories_are_learnt(synthetic_model: Path) -> None:
    assert read_json(synthetic_model / "manifest.json")["validation"]["accuracy"] >= 0.99
