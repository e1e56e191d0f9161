"""How a node finds the examples of its share."""

from dataclasses import replace

import numpy as np

from client.data import Dataset
from client.shares import DataShare, Division
from fedmx.values import PartitionRule

SHARE = DataShare(PartitionRule.parse("dirichlet:0.5"), 0, 3, 7)


def make_set(count: int) -> Dataset:
    return Dataset(np.zeros((count, 2), np.float32), np.arange(count) % 4)


def test_a_division_that_is_kept_is_the_one_that_is_made_for_each_share_alone() -> None:
    train, test = make_set(60), make_set(9)
    kept = Division()
    for share in [replace(SHARE, partition=number) for number in (2, 0, 1)] + [replace(SHARE, seed=8)]:
        pairs = zip(
            kept.choose_rows(train, test, share), Division().choose_rows(train, test, share), strict=True
        )
        for chosen, alone in pairs:
            assert chosen.tolist() == alone.tolist()


def test_sets_of_other_lengths_are_divided_again() -> None:
    kept = Division()
    kept.choose_rows(make_set(60), make_set(9), SHARE)
    parts = [
        kept.choose_rows(make_set(24), make_set(6), replace(SHARE, partition=number)) for number in range(3)
    ]
    assert sorted(np.concatenate([train for train, _ in parts])) == list(range(24))
    assert sorted(np.concatenate([test for _, test in parts])) == list(range(6))
