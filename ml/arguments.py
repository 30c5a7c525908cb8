"""The command line of the training; wrong usage ends with exit code 2 and one sentence."""

import argparse
import datetime
import math
import re
from dataclasses import dataclass
from pathlib import Path

DEFAULT_OUT = Path(__file__).resolve().parent.parent / "model"
MAX_SEED = 2**32 - 1
SPACE = re.compile(r"[A-Za-z0-9._:-]{1,100}")
EXAMPLES = """examples:
  python ml/train_product_category.py
  python ml/train_product_category.py --data vectors.csv --epochs 600 --out model
  python ml/train_product_category.py --data vectors.csv --category-name "PET_SHOP=Pet shop e agro"
"""


@dataclass(frozen=True)
class Arguments:
    """What to train on, how long, and where the files go.

    data is None for synthetic data, space is None for data.default_space, data_date is an ISO date.
    """

    data: Path | None
    epochs: int
    seed: int
    validation: float
    out: Path
    names: dict[str, str]
    version: str | None
    space: str | None
    data_date: str | None


def parse_arguments(argv: list[str] | None = None) -> Arguments:
    """Parse `argv` (the process's own when None); exits with 2 on wrong usage and with 0 on --help."""
    parser = argparse.ArgumentParser(
        description="Trains the product categorizer and writes model.onnx, manifest.json and golden.json.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--data",
        type=_path,
        metavar="FILE.csv",
        help="product_id,f0..fN,category (default: synthetic)",
    )
    add("--epochs", type=_epochs, default=50, metavar="N", help="passes over the training rows (default: 50)")
    add("--seed", type=_seed, default=0, metavar="N", help="same seed, same files (default: 0)")
    add(
        "--validation",
        type=_fraction,
        default=0.2,
        metavar="V",
        help="share of rows to measure on (default: 0.2)",
    )
    add("--out", type=_path, default=DEFAULT_OUT, metavar="DIR", help="where the files go (default: model/)")
    add("--category-name", type=_name, action="append", default=[], metavar="CODE=NAME", help="readable name")
    add("--model-version", type=_version, metavar="V", help="default: first 12 digits of the model's sha256")
    add(
        "--space",
        type=_space,
        metavar="NAME",
        help="what produced the vectors (default: from the data file's name and width)",
    )
    add("--data-date", type=_date, metavar="YYYY-MM-DD", help="when the data was taken, for the manifest")
    given = parser.parse_args(argv)
    if given.data is None and given.space is not None:
        parser.error("argument --space: synthetic data has a space of its own; it needs --data")
    names = dict(given.category_name)
    if len(names) < len(given.category_name):
        parser.error("argument --category-name: a code was named twice")
    return Arguments(
        data=given.data,
        epochs=given.epochs,
        seed=given.seed,
        validation=given.validation,
        out=given.out,
        names=names,
        version=given.model_version,
        space=given.space,
        data_date=given.data_date,
    )


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got nothing")
    return Path(text)


def _epochs(text: str) -> int:
    return _whole_number(text, 1, 1_000_000)


def _seed(text: str) -> int:
    return _whole_number(text, 0, MAX_SEED)


def _whole_number(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {most}, got {text!r}")
    return int(text)


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to below 1, got {text!r}")
    return value


def _name(text: str) -> tuple[str, str]:
    code, _, name = (part.strip() for part in text.partition("="))
    if not (code and name and text.isprintable()):
        raise argparse.ArgumentTypeError(f"expected CODE=NAME, got {text!r}")
    return code, name


def _version(text: str) -> str:
    if not (text.strip() and text.isprintable() and len(text) <= 100):
        raise argparse.ArgumentTypeError("expected 1 to 100 printable characters")
    return text.strip()


def _space(text: str) -> str:
    if not SPACE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"expected 1 to 100 of A-Z a-z 0-9 . _ : -, got {text!r}")
    return text


def _date(text: str) -> str:
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a date as YYYY-MM-DD, got {text!r}") from None
