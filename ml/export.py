"""The network as one ONNX file, and the proof that it computes what PyTorch computes."""

import io
import os
import warnings
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from torch import nn

from data import FloatMatrix
from errors import TrainingError
from network import logits

if TYPE_CHECKING:
    import onnxruntime

OPSET = 17
INPUT, OUTPUT, BATCH = "input", "output", "batch_size"
TOLERANCE = 1e-4
CHECKED_BATCHES = (1, 7, 256)


def to_onnx(network: nn.Module, width: int) -> bytes:
    """The network as ONNX bytes, weights included.

    `input` is float32 batch_size x width, `output` float32 batch_size x categories. The bytes depend on the
    weights alone: no path, no time, no version of a build.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # PyTorch calls this exporter legacy, but the newer one (dynamo=True) writes opset 18 and converts
        # down, while this one writes 17 itself.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.zeros(2, width),),
            buffer,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: BATCH}, OUTPUT: {0: BATCH}},
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    # The exporter's version would differ between builds of the same PyTorch, and the weights need not.
    model.ClearField("producer_version")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def run_onnx(model: bytes, features: FloatMatrix) -> FloatMatrix:
    """The exported file's output for rows x width features, computed by onnxruntime on one thread."""
    return _session(model).run([OUTPUT], {INPUT: features})[0]


def check_export(model: bytes, network: nn.Module, features: FloatMatrix, golden: FloatMatrix) -> None:
    """Run the exported bytes at batch 1, 7 and 256, and on the golden rows, against PyTorch.

    The batches are rows of `features` (any number, at least one), repeated as needed and slightly moved.
    Raises TrainingError EXPORT_MISMATCH when a logit differs by more than 1e-4.
    """
    session = _session(model)
    rng = np.random.default_rng(0)
    batches = [golden]
    for size in CHECKED_BATCHES:
        drawn = features[rng.integers(len(features), size=size)]
        batches.append((drawn + rng.normal(0, 0.1, drawn.shape)).astype(np.float32))
    for batch in batches:
        expected, got = logits(network, batch), session.run([OUTPUT], {INPUT: batch})[0]
        if got.shape != expected.shape:
            raise TrainingError(
                "EXPORT_MISMATCH",
                f"at batch {len(batch)} the exported file gives shape {got.shape}, PyTorch {expected.shape}; "
                "nothing was written",
            )
        difference = float(np.abs(got - expected).max())
        # Written so that NaN, which compares false to everything, is a mismatch too.
        if not difference <= TOLERANCE:
            raise TrainingError(
                "EXPORT_MISMATCH",
                f"at batch {len(batch)} the exported file differs from PyTorch by {difference:.3g}, "
                f"more than {TOLERANCE}; nothing was written. Features here reach "
                f"{np.abs(batch).max():.3g}: if that is far above 10, scale them to about -3 to 3",
            )


def _session(model: bytes) -> "onnxruntime.InferenceSession":
    # It reports models and machines to its maker unless this is set when it is imported.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
