"""Splits into training and test sets: complete, the same at every call, and of every class."""

import numpy as np
import pytest

from client.data.splitting import split_classes, split_rows
from fedmx.errors import SettingsError

LABELS = np.array([0] * 10 + [1] * 5 + [2])


def test_every_row_is_in_exactly_one_set() -> None:
    for train, test in (split_rows(10, 0.3), split_classes(LABELS, 0.2)):
        assert sorted([*train, *test]) == list(range(len(train) + len(test)))
    train, test = split_rows(10, 0.3)
    assert (len(train), len(test)) == (7, 3)
    assert [part.tolist() for part in split_rows(10, 0.3)] == [train.tolist(), test.tolist()]


def test_each_class_with_several_rows_is_in_both_sets() -> None:
    train, test = split_classes(LABELS, 0.2)
    assert np.bincount(LABELS[train]).tolist() == [8, 4, 1]
    assert np.bincount(LABELS[test]).tolist() == [2, 1]


def test_the_first_rows_of_an_order_are_tested() -> None:
    _, test = split_classes(LABELS, 0.2, lambda own: own[::-1])
    assert test.tolist() == [8, 9, 14]


def test_with_a_share_of_0_both_sets_are_all_rows() -> None:
    for train, test in (split_rows(3, 0), split_classes(LABELS, 0)):
        assert train.tolist() == test.tolist() == list(range(len(train)))


@pytest.mark.parametrize("share", [-0.1, 1, float("nan")])
def test_other_shares_are_rejected(share: float) -> None:
    with pytest.raises(SettingsError, match="test_share"):
        split_rows(3, share)
    with pytest.raises(SettingsError, match="test_share"):
        split_classes(LABELS, share)
