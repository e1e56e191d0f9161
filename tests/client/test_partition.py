"""Partitions: each example in exactly one, none empty, every rule as published, the same on every node."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from client.partition import split_indices, split_test_indices
from fedmx.errors import DataError
from fedmx.values import PartitionRule
from tests.client.given.splits import as_labels, assert_each_in_exactly_one, error_of, read_mnist_labels

IID = PartitionRule("iid")
# The arguments of a split: labels, rule, number of partitions.
Case = tuple[NDArray[np.int64], PartitionRule, int]


@st.composite
def splittable(draw: st.DrawFn) -> Case:
    """Draw a case that every rule's arithmetic can split."""
    kind = draw(st.sampled_from(["iid", "dirichlet", "labels", "shards"]))
    number = draw(st.integers(1, 8))
    distinct = draw(st.lists(st.integers(-5, 300), min_size=1, max_size=6, unique=True))
    if kind == "labels":
        parameter = draw(st.integers(-(-len(distinct) // number), len(distinct)))
        sizes = [draw(st.integers(number, 2 * number)) for _ in distinct]
    elif kind == "dirichlet":
        parameter = draw(st.integers(1, 1000))
        sizes = [draw(st.integers(40, 60)) * number for _ in distinct]
    else:
        parameter = draw(st.integers(1, 3)) if kind == "shards" else 0
        least = number * max(parameter, 1)
        sizes = [draw(st.integers(least if i == 0 else 1, least + 9)) for i in range(len(distinct))]
    labels = np.repeat(as_labels(distinct), sizes)
    np.random.default_rng(draw(st.integers(0, 99))).shuffle(labels)
    return labels, PartitionRule(kind, parameter), number


# All rules


@settings(deadline=None)
@given(splittable(), st.integers(0, 2**40))
def test_every_example_lands_in_exactly_one_partition_and_none_is_empty(case: Case, seed: int) -> None:
    labels, rule, number = case
    assert_each_in_exactly_one(split_indices(labels, rule, number, seed), number, len(labels))


@settings(deadline=None)
@given(splittable(), st.integers(0, 2**40))
def test_a_split_depends_on_its_arguments_alone(case: Case, seed: int) -> None:
    labels, rule, number = case
    before = labels.copy()
    np.random.seed(1)  # noqa: NPY002
    first = split_indices(labels, rule, number, seed)
    next_draw = np.random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert np.random.random() == next_draw  # noqa: NPY002
    second = split_indices(labels, rule, number, seed)
    assert [part.tolist() for part in first] == [part.tolist() for part in second]
    assert (labels == before).all()


@pytest.mark.parametrize("rule", ["iid", "dirichlet:1", "labels:5", "shards:2"])
def test_another_seed_gives_another_split(rule: str) -> None:
    splits = {
        split_indices(read_mnist_labels(), PartitionRule.parse(rule), 4, seed)[0].tobytes()
        for seed in (0, 1, 2**32)
    }
    assert len(splits) == 3


@pytest.mark.parametrize("rule", ["iid", "dirichlet:0.5", "labels:2", "shards:2"])
def test_every_digit_of_mnist_is_in_exactly_one_of_a_hundred_partitions(rule: str) -> None:
    parts = split_indices(read_mnist_labels(), PartitionRule.parse(rule), 100, seed=0)
    assert_each_in_exactly_one(parts, 100, 60_000)


@pytest.mark.parametrize("rule", ["iid", "dirichlet:1", "labels:1", "shards:1"])
def test_a_number_of_partitions_that_cannot_be_filled_is_refused(rule: str) -> None:
    labels = as_labels([0, 0, 0])
    assert error_of(labels, rule, 4) == (
        "NUM_PARTITIONS=4: only 3 training examples; expected at most 3 partitions"
    )
    assert error_of(labels, rule, 0) == "NUM_PARTITIONS=0: expected at least 1 partition"


@pytest.mark.parametrize("rule", ["dirichlet:0.5", "labels:2", "shards:2"])
@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (np.array([0.5, 1.0, 2.0], np.float32), "float32 of shape (3,)"),
        (np.array([0, 1, 2], np.uint8), "uint8 of shape (3,)"),
        (np.zeros((3, 1), np.int64), "int64 of shape (3, 1)"),
        (np.zeros((3, 4), bool), "bool of shape (3, 4)"),
        (np.zeros((3, 8, 8), np.uint8), "uint8 of shape (3, 8, 8)"),
    ],
)
def test_a_rule_for_classes_refuses_other_labels(rule: str, labels: NDArray[Any], found: str) -> None:
    assert error_of(labels, rule, 2) == (
        f"PARTITION={rule}: training labels are {found}; expected class numbers, one whole number per example"
        " (PARTITION=iid and PARTITION=none accept any labels)"
    )


def test_a_sites_own_data_is_never_split() -> None:
    with pytest.raises(ValueError, match="PARTITION=none: a site's own data is not split"):
        split_indices(as_labels([0, 1]), PartitionRule("none"), 1, seed=0)


# The rule iid


def test_iid_sizes_differ_by_at_most_one() -> None:
    assert [len(part) for part in split_indices(as_labels([0] * 11), IID, 3, seed=0)] == [4, 4, 3]
    assert [len(part) for part in split_indices(as_labels([0] * 3), IID, 3, seed=0)] == [1, 1, 1]


@settings(deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["?", "u1", "i8", ">f4", "f8"]), hnp.array_shapes(min_dims=1, max_dims=4, max_side=6)
    ),
    st.data(),
)
def test_iid_depends_on_the_number_of_labels_not_on_what_they_are(
    labels: NDArray[Any], data: st.DataObject
) -> None:
    number = data.draw(st.integers(1, len(labels)))
    parts = split_indices(labels, IID, number, seed=0)
    assert_each_in_exactly_one(parts, number, len(labels))
    of_classes = split_indices(as_labels([0] * len(labels)), IID, number, seed=0)
    assert [part.tolist() for part in parts] == [part.tolist() for part in of_classes]


def test_iid_partitions_have_equal_shares_of_each_label() -> None:
    labels = np.repeat(np.arange(10), 1000)
    for part in split_indices(labels, IID, 4, seed=0):
        # 250 expected; the standard deviation of a draw without replacement is 13.
        assert np.abs(np.bincount(labels[part], minlength=10) - 250).max() < 60


def test_the_split_of_a_seed_never_changes() -> None:
    labels = as_labels([0, 1, 2, 0, 1, 2, 0, 1])
    assert {
        rule: [part.tolist() for part in split_indices(labels, PartitionRule.parse(rule), 2, seed=3)]
        for rule in ("iid", "dirichlet:1", "labels:2", "shards:2")
    } == {
        "iid": [[2, 4, 5, 6], [0, 1, 3, 7]],
        "dirichlet:1": [[1, 2, 4, 5, 6], [0, 3, 7]],
        "labels:2": [[0, 1, 4, 6, 7], [2, 3, 5]],
        "shards:2": [[2, 3, 4, 5], [0, 1, 6, 7]],
    }
    assert [part.tolist() for part in split_test_indices(8, 2, seed=3)] == [[3, 4, 5, 6], [0, 1, 2, 7]]


# The test set


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(0, 2**40), st.data())
def test_the_test_set_is_divided_evenly_and_each_example_once(
    count: int, seed: int, data: st.DataObject
) -> None:
    number = data.draw(st.integers(1, count))
    parts = split_test_indices(count, number, seed)
    assert_each_in_exactly_one(parts, number, count)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [part.tolist() for part in split_test_indices(count, number, seed)] == [
        part.tolist() for part in parts
    ]


def test_every_test_partition_has_all_classes() -> None:
    labels = np.repeat(np.arange(10), 1000)
    for part in split_test_indices(10_000, 10, seed=0):
        # 100 expected; the standard deviation of a draw without replacement is 9.
        assert np.abs(np.bincount(labels[part], minlength=10) - 100).max() < 40


def test_training_and_test_set_are_split_independently() -> None:
    train = split_indices(as_labels([0] * 1000), IID, 2, seed=0)[0]
    test = split_test_indices(1000, 2, seed=0)[0]
    # Two independent halves share 250 of a thousand, with a standard deviation of 8.
    assert 200 < len(np.intersect1d(train, test)) < 300


def test_another_seed_gives_another_split_of_the_test_set() -> None:
    assert split_test_indices(100, 2, seed=0)[0].tolist() != split_test_indices(100, 2, seed=1)[0].tolist()


def test_fewer_test_examples_than_partitions_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        split_test_indices(3, 4, seed=0)
    assert str(caught.value) == "NUM_PARTITIONS=4: only 3 test examples; expected at most 3 partitions"
