"""Models that several tests look at are trained once."""

import os
from pathlib import Path

import pytest

from support import train_command, vectors_csv

COUNTS = {"PAPELARIA": 30, "AUTOPECAS": 80, "FERRAMENTAS_ELETRICAS": 50}

# Read when onnxruntime is imported, which the tests do themselves.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(scope="session")
def synthetic_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that default training writes, run from a folder that is not the repository."""
    folder = tmp_path_factory.mktemp("synthetic")
    done = train_command("--out", "out", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "out"


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data file of 160 rows, width 4, categories not in alphabetical order."""
    return vectors_csv(tmp_path_factory.mktemp("vectors") / "vectors.csv", COUNTS)


@pytest.fixture(scope="session")
def vectors_model(tmp_path_factory: pytest.TempPathFactory, vectors: Path) -> Path:
    """The folder that training on `vectors` writes."""
    folder = tmp_path_factory.mktemp("trained")
    done = train_command("--data", vectors, "--epochs", "25", "--seed", "3", "--out", folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder
