import os
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import train_product_category
from errors import TrainingError
from files import write_together
from network import build_network
from support import contents

OLD = {"model.onnx": b"old model", "golden.json": b"old golden", "manifest.json": b"old manifest"}
NEW = {"model.onnx": b"new model", "golden.json": b"new golden", "manifest.json": b"new manifest"}


@pytest.fixture
def old_files(tmp_path: Path) -> Path:
    for name, content in OLD.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def fail_at(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int, error: BaseException
) -> None:
    """Let the `call`-th call (from 1) of a function fail, and all others pass."""
    original, calls = getattr(owner, name), []

    def sometimes(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == call:
            raise error
        return original(*arguments)

    monkeypatch.setattr(owner, name, sometimes)


def test_new_files_replace_old_ones_and_nothing_else_stays(old_files: Path) -> None:
    (old_files / "notes.txt").write_bytes(b"mine")
    write_together(old_files, NEW)
    assert contents(old_files) == {**NEW, "notes.txt": b"mine"}
    assert [p.name for p in old_files.iterdir() if p.is_dir()] == []


def test_missing_folders_are_made_and_files_are_readable_by_others(tmp_path: Path) -> None:
    write_together(tmp_path / "a" / "b", NEW)
    assert contents(tmp_path / "a" / "b") == NEW
    assert (tmp_path / "a" / "b" / "model.onnx").stat().st_mode & 0o444 == 0o444


# One sync for each staged file and one for each rename; one rename for each file.
FAILURES = [(os, "fsync", call) for call in range(1, 7)] + [(Path, "replace", call) for call in range(1, 4)]


@pytest.mark.parametrize(("owner", "name", "call"), FAILURES)
def test_a_failed_write_leaves_the_old_files(
    old_files: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int
) -> None:
    fail_at(monkeypatch, owner, name, call, OSError(28, "No space left on device"))
    with pytest.raises(TrainingError, match=r"^WRITE_FAILED: .*No space left on device; nothing was changed"):
        write_together(old_files, NEW)
    assert contents(old_files) == OLD
    assert sorted(p.name for p in old_files.iterdir()) == sorted(OLD)


@pytest.mark.parametrize(("owner", "name", "call"), FAILURES)
def test_a_failed_first_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int
) -> None:
    fail_at(monkeypatch, owner, name, call, OSError(5, "Input/output error"))
    with pytest.raises(TrainingError, match="WRITE_FAILED"):
        write_together(tmp_path / "a" / "b", NEW)
    assert list(tmp_path.iterdir()) == []


def test_being_stopped_between_renames_leaves_the_old_files(
    old_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, Path, "replace", 2, SystemExit(143))
    with pytest.raises(SystemExit):
        write_together(old_files, NEW)
    assert contents(old_files) == OLD


def test_the_manifest_is_renamed_last(old_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = Path.replace

    def watch(source: Path, target: Path) -> Path:
        seen.append(target.name)
        return original(source, target)

    monkeypatch.setattr(Path, "replace", watch)
    assert train_product_category.main(["--epochs", "1", "--out", str(old_files)]) == 0
    assert seen == ["model.onnx", "golden.json", "manifest.json"]


def test_file_systems_without_hard_links_or_folder_syncs_do(
    old_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    fail_at(monkeypatch, os, "fsync", 4, OSError(22, "Invalid argument"))
    fail_at(monkeypatch, Path, "replace", 3, OSError(5, "Input/output error"))
    with pytest.raises(TrainingError, match="Input/output error"):
        write_together(old_files, NEW)
    assert contents(old_files) == OLD


@pytest.mark.parametrize("name", list(OLD))
def test_a_folder_in_a_files_place_stops_the_write(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(TrainingError, match="WRITE_FAILED"):
        write_together(tmp_path, NEW)
    assert [p.name for p in tmp_path.rglob("*")] == [name]


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_a_file_in_the_folders_place_stops_the_write(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(TrainingError, match="WRITE_FAILED"):
        write_together(tmp_path / folder, NEW)
    assert contents(tmp_path) == {"file": b"mine"}


def shifted(network: nn.Sequential) -> None:
    """One output is a little off, by twice what is allowed."""
    network[2].bias.data[1] += 2e-4


def not_a_number(network: nn.Sequential) -> None:
    network[2].bias.data[1] = float("nan")


@pytest.mark.parametrize("spoil", [shifted, not_a_number])
def test_an_export_that_computes_something_else_is_not_written(
    old_files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spoil: object
) -> None:
    import export

    faithful = export.to_onnx

    def unfaithful(network: nn.Sequential, width: int) -> bytes:
        other = build_network(width, 3).eval()
        other.load_state_dict(network.state_dict())
        spoil(other)
        return faithful(other, width)

    monkeypatch.setattr(export, "to_onnx", unfaithful)
    assert train_product_category.main(["--epochs", "1", "--out", str(old_files)]) == 1
    assert capsys.readouterr().err.startswith("EXPORT_MISMATCH: at batch ")
    assert contents(old_files) == OLD


def test_an_export_with_too_few_outputs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import export

    faithful = export.to_onnx
    monkeypatch.setattr(export, "to_onnx", lambda _, width: faithful(build_network(width, 2).eval(), width))
    assert train_product_category.main(["--epochs", "1", "--out", str(tmp_path)]) == 1
    assert "the exported file gives shape" in capsys.readouterr().err
    assert contents(tmp_path) == {}


def test_the_export_is_checked_at_batch_1_7_and_256(monkeypatch: pytest.MonkeyPatch) -> None:
    import export

    network = build_network(5, 2).eval()
    model, sizes = export.to_onnx(network, 5), []
    original = export.logits

    def watch(network: nn.Module, batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return original(network, batch)

    monkeypatch.setattr(export, "logits", watch)
    export.check_export(model, network, np.ones((3, 5), np.float32), np.zeros((2, 5), np.float32))
    assert sizes == [2, 1, 7, 256]
