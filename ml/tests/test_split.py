import numpy as np
import pytest

from data import stratified_split


@pytest.mark.parametrize("seed", range(60))
def test_every_row_is_on_one_side_and_every_category_keeps_its_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(2, 80, size=rng.integers(2, 9))
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    fraction = float(rng.uniform(0.01, 0.99))
    split = stratified_split(labels, tuple(f"C{n}" for n in range(len(counts))), fraction, seed)

    both = np.concatenate([split.training, split.validation])
    assert np.array_equal(np.sort(both), np.arange(len(labels)))
    for n, count in enumerate(counts):
        held_out = int((labels[split.validation] == n).sum())
        assert 1 <= held_out <= count - 1
        assert abs(held_out - fraction * count) < 1
    for side in (split.training, split.validation):
        assert np.array_equal(side, np.sort(side))


def test_the_seed_alone_decides_which_rows_are_held_out() -> None:
    labels = np.repeat([0, 1], 50)
    splits = [stratified_split(labels, ("A", "B"), 0.3, seed).validation.tolist() for seed in (5, 5, 6)]
    assert splits[0] == splits[1]
    assert splits[0] != splits[2]


def test_without_validation_all_rows_are_trained_on() -> None:
    split = stratified_split(np.array([0, 1, 1]), ("A", "B"), 0, seed=0)
    assert (split.training.tolist(), split.validation.tolist()) == ([0, 1, 2], [])


def test_a_category_of_one_row_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="category A has 1 rows"):
        stratified_split(np.array([0, 1, 1]), ("A", "B"), 0.2, seed=0)
