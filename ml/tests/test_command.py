import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import NAMES, SCRIPT, contents, train_command, write_lines


def test_progress_is_printed_every_ten_epochs_and_for_the_last(tmp_path: Path) -> None:
    done = train_command("--epochs", "23", "--out", "out", cwd=tmp_path)
    epochs = [line.split() for line in done.stdout.splitlines() if line.startswith("epoch")]
    assert done.returncode == 0
    assert [(line[1], line[2], line[4]) for line in epochs] == [
        (epoch, "loss", "accuracy") for epoch in ("10", "20", "23")
    ]
    assert "validation on 180 rows: accuracy " in done.stdout
    assert tuple(contents(tmp_path / "out")) == NAMES


def test_help_shows_every_option_and_an_example() -> None:
    done = train_command("--help")
    assert (done.returncode, done.stderr) == (0, "")
    options = ("--data", "--epochs", "--seed", "--validation", "--out", "--category-name", "--model-version")
    more = ("--space", "--data-date", "examples:")
    assert [option for option in (*options, *more) if option not in done.stdout] == []


WRONG_USAGE = [
    ("--nonsense",),
    ("--epochs", "0"),
    ("--epochs", "ten"),
    ("--seed", "-1"),
    ("--seed", "4294967296"),
    ("--validation", "1"),
    ("--validation", "-0.1"),
    ("--validation", "nan"),
    ("--category-name", "AUTOPECAS"),
    ("--category-name", "AUTOPECAS="),
    ("--category-name", "=Peças"),
    ("--category-name", "A=x", "--category-name", "A=y"),
    ("--model-version", " "),
    ("--data", "a.csv", "--space", "with blank"),
    ("--data", "a.csv", "--space", "x" * 101),
    ("--space", "named-without-data"),
    ("--data-date", "20th of May"),
    ("--out", ""),
    ("--data",),
]


@pytest.mark.parametrize("arguments", WRONG_USAGE, ids=" ".join)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = train_command(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: " in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("rows", "options", "start"),
    [
        (["P,1,A", "Q,x,B"], [], "UNREADABLE_NUMBER: a.csv line 3: f0 is 'x'"),
        (["P,1,A", "Q,2,B", "R,3,B"], [], "TOO_FEW_ROWS: a.csv line 2: 1 row of category A"),
        (
            ["P,1,A", "Q,2,B"],
            ["--validation", "0", "--category-name", "C=c"],
            "UNKNOWN_CATEGORY: --category-name C",
        ),
        (["P,1e6,A", "Q,-1e6,B"], ["--validation", "0"], "EXPORT_MISMATCH: at batch "),
    ],
)
def test_bad_data_exits_with_1_and_one_line(
    rows: list[str], options: list[str], start: str, tmp_path: Path
) -> None:
    data = write_lines(tmp_path / "a.csv", ["product_id,f0,category", *rows])
    done = train_command("--data", data, "--out", tmp_path / "out", *options)
    assert done.returncode == 1
    assert done.stderr.startswith(start)
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_features_too_large_to_train_on_exit_with_1(tmp_path: Path) -> None:
    header = f"product_id,{','.join(f'f{n}' for n in range(8))},category"
    rows = [f"P,{','.join([value] * 8)},{code}" for value, code in (("3e38", "A"), ("-3e38", "B"))]
    data = write_lines(tmp_path / "a.csv", [header, *rows])
    done = train_command("--data", data, "--out", tmp_path / "out", "--validation", "0")
    assert done.returncode == 1
    assert done.stderr.startswith("TRAINING_DIVERGED: the loss is ")
    assert not (tmp_path / "out").exists()


def test_one_row_of_each_category_is_enough_without_validation(tmp_path: Path) -> None:
    data = write_lines(tmp_path / "a.csv", ["product_id,f0,category", "P,1,A", "Q,2,B"])
    done = train_command("--data", data, "--validation", "0", "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_that_cannot_be_written_exits_with_1(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"mine")
    done = train_command("--epochs", "1", "--out", tmp_path / "taken")
    assert done.returncode == 1
    assert done.stderr.startswith("WRITE_FAILED: cannot write the model into ")
    assert contents(tmp_path) == {"taken": b"mine"}


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes and signals")
def test_a_closed_pipe_ends_the_run_without_a_traceback(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, str(SCRIPT), "--epochs", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
