"""The network and its training: width -> 32 -> ReLU -> categories, trained full batch with Adam."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from data import FloatMatrix, Indexes
from errors import TrainingError

HIDDEN = 32
LEARNING_RATE = 0.01
REPORT_EVERY = 10

Report = Callable[[int, float, float], None]
"""Called with the epoch (from 1), the mean loss and the accuracy (0 to 1) on the training rows."""


def make_deterministic(seed: int) -> None:
    """Make a second run on the same machine give the same bits: one seed, one thread, one order of sums."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)


def build_network(width: int, categories: int) -> nn.Sequential:
    """A network that takes float32 rows x width and gives logits, rows x categories."""
    return nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, categories))


def train(network: nn.Module, features: FloatMatrix, labels: Indexes, epochs: int, report: Report) -> None:
    """Train in place on rows x width features and their labels; leave the network in evaluation mode.

    Reports every 10 epochs and after the last, as of the epoch's own pass.
    Raises TrainingError TRAINING_DIVERGED when the loss is no longer finite.
    """
    rows, wanted = torch.from_numpy(features), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    network.train()
    for epoch in range(1, epochs + 1):
        optimizer.zero_grad()
        output = network(rows)
        loss = nn.functional.cross_entropy(output, wanted)
        if not torch.isfinite(loss):
            raise TrainingError(
                "TRAINING_DIVERGED",
                f"the loss is {loss.item()} in epoch {epoch}; scale the features to about -3 to 3",
            )
        loss.backward()
        optimizer.step()
        if epoch % REPORT_EVERY == 0 or epoch == epochs:
            accuracy = (output.argmax(dim=1) == wanted).double().mean().item()
            report(epoch, loss.item(), accuracy)
    network.eval()


def logits(network: nn.Module, features: FloatMatrix) -> FloatMatrix:
    """The network's output for rows x width features: float32, rows x categories."""
    with torch.no_grad():
        return network(torch.from_numpy(np.ascontiguousarray(features))).numpy()
