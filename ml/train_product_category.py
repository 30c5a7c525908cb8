"""Trains the product categorizer and writes model.onnx, manifest.json and golden.json.

python ml/train_product_category.py --help
"""

import os
import signal
import sys

from arguments import Arguments, parse_arguments
from csv_data import read_csv
from data import Dataset, Split, default_space, stratified_split, synthetic_dataset
from errors import TrainingError
from files import write_together
from metrics import Scores, score


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 written, 1 failed. Wrong usage exits with 2."""
    arguments = parse_arguments(argv)
    try:
        run(arguments)
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the progress (`| head`) is gone; give Python somewhere to flush the rest to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def run(arguments: Arguments) -> None:
    """Train, export, check, and only then write. Raises TrainingError; nothing is written then."""
    dataset, split = load(arguments)
    width, categories = dataset.features.shape[1], len(dataset.categories)
    print(f"{len(split.training)} training rows, width {width}: {', '.join(dataset.categories)}", flush=True)

    # Imported here: --help, wrong usage and bad data need not wait seconds for PyTorch.
    from artifacts import Training, golden_inputs, golden_json, manifest_json
    from export import check_export, to_onnx
    from network import build_network, logits, make_deterministic, train

    make_deterministic(arguments.seed)
    network = build_network(width, categories)
    features = dataset.features[split.training]
    train(network, features, dataset.labels[split.training], arguments.epochs, print_epoch)
    scores = None
    if len(split.validation):
        predicted = logits(network, dataset.features[split.validation]).argmax(axis=1)
        scores = score(dataset.labels[split.validation], predicted, categories)
        print_scores(scores)

    model = to_onnx(network, width)
    golden = golden_inputs(network, dataset, split)
    check_export(model, network, features, golden)
    space = arguments.space or default_space(dataset)
    training = Training(dataset, split, arguments.epochs, arguments.seed, scores, space, arguments.data_date)
    files = {
        "model.onnx": model,
        "golden.json": golden_json(network, golden, dataset.categories),
        # Last: its sha256 is what tells a complete set from a mixture.
        "manifest.json": manifest_json(model, training, arguments.names, arguments.version),
    }
    write_together(arguments.out, files)
    print(f"wrote {', '.join(files)} to {arguments.out}; feature space {space}")


def load(arguments: Arguments) -> tuple[Dataset, Split]:
    """The rows to train on, and which of them are for validation. Raises TrainingError."""
    if arguments.data:
        dataset = read_csv(arguments.data, rows_per_category=2 if arguments.validation else 1)
    else:
        dataset = synthetic_dataset(arguments.seed)
    refuse_unknown_names(arguments.names, dataset.categories)
    return dataset, stratified_split(dataset.labels, dataset.categories, arguments.validation, arguments.seed)


def print_scores(scores: Scores) -> None:
    """The validation's figures in one line."""
    accuracy, macro_f1 = f"accuracy {scores.accuracy:.4f}", f"macro-F1 {scores.macro_f1:.4f}"
    print(f"validation on {scores.rows} rows: {accuracy}, {macro_f1}", flush=True)


def print_epoch(epoch: int, loss: float, accuracy: float) -> None:
    """One line of progress."""
    print(f"epoch {epoch:>4}  loss {loss:.4f}  accuracy {accuracy:.4f}", flush=True)


def refuse_unknown_names(names: dict[str, str], categories: tuple[str, ...]) -> None:
    """A name for a category that is not in the data is a typing error, not a wish."""
    unknown = sorted(set(names) - set(categories))
    if unknown:
        raise TrainingError(
            "UNKNOWN_CATEGORY",
            f"--category-name {unknown[0]}: no such category in the data; there are {', '.join(categories)}",
        )


def exit_on_sigterm() -> None:
    """Let `docker stop` end the run by an exception, so that staged files are cleaned up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


if __name__ == "__main__":
    exit_on_sigterm()
    sys.exit(main())
