"""Partitions: each example in exactly one, none empty, every rule as published, the same on every node."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from client.data.idx import read_idx_dataset
from client.partition import Indices, split_indices, split_test_indices
from fedmx.errors import DataError
from fedmx.values import PartitionRule

MNIST = Path(__file__).parents[2] / "data" / "mnist"
IID = PartitionRule("iid")
# The arguments of a split: labels, rule, number of partitions.
Case = tuple[NDArray[np.int64], PartitionRule, int]


def as_labels(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def labels_held(labels: NDArray[np.int64], parts: list[Indices]) -> list[list[int]]:
    return [np.unique(labels[part]).tolist() for part in parts]


def error_of(labels: NDArray[Any], rule: str, number: int) -> str:
    with pytest.raises(DataError) as caught:
        split_indices(labels, PartitionRule.parse(rule), number, seed=0)
    return str(caught.value)


def assert_each_in_exactly_one(parts: list[Indices], number: int, count: int) -> None:
    assert len(parts) == number
    assert all(part.dtype == np.int64 and len(part) for part in parts)
    assert all((np.diff(part) > 0).all() for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))


@pytest.fixture(scope="module")
def mnist_labels() -> NDArray[np.int64]:
    train, _ = read_idx_dataset(MNIST)
    return train.labels


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
def test_another_seed_gives_another_split(mnist_labels: NDArray[np.int64], rule: str) -> None:
    splits = {
        split_indices(mnist_labels, PartitionRule.parse(rule), 4, seed)[0].tobytes() for seed in (0, 1, 2**32)
    }
    assert len(splits) == 3


@pytest.mark.parametrize("rule", ["iid", "dirichlet:0.5", "labels:2", "shards:2"])
def test_every_digit_of_mnist_is_in_exactly_one_of_a_hundred_partitions(
    mnist_labels: NDArray[np.int64], rule: str
) -> None:
    parts = split_indices(mnist_labels, PartitionRule.parse(rule), 100, seed=0)
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


# The rule dirichlet


@pytest.mark.parametrize(("alpha", "variance"), [(0.5, 1 / 8), (1.0, 1 / 12), (4.0, 1 / 36)])
def test_dirichlet_shares_of_two_have_the_variance_of_the_distribution(alpha: float, variance: float) -> None:
    # A share of two is Beta(alpha, alpha): mean 1/2, variance 1 / (4 (2 alpha + 1)).
    labels, rule = as_labels([0] * 2000), PartitionRule("dirichlet", alpha)
    shares = np.array([len(split_indices(labels, rule, 2, seed)[0]) / 2000 for seed in range(1000)])
    assert abs(shares.mean() - 0.5) < 0.04
    assert shares.var() == pytest.approx(variance, rel=0.12)


def test_dirichlet_draws_separately_for_each_label() -> None:
    labels = np.repeat(np.arange(20), 1000)
    part = split_indices(labels, PartitionRule("dirichlet", 1), 2, seed=0)[0]
    counts = np.bincount(labels[part], minlength=20)
    assert len(set(counts.tolist())) > 15
    assert counts.min() < 250
    assert counts.max() > 750


def test_a_large_alpha_gives_equal_shares_however_large() -> None:
    labels = np.repeat(np.arange(3), 100)
    for alpha in (1e9, 1e308):
        for part in split_indices(labels, PartitionRule("dirichlet", alpha), 4, seed=0):
            assert np.bincount(labels[part]).tolist() == [25, 25, 25]


def test_dirichlet_distributes_the_examples_of_a_label_at_random() -> None:
    first = split_indices(as_labels([0] * 100), PartitionRule("dirichlet", 1e9), 2, seed=0)[0]
    assert len(first) == 50
    assert first.max() > 60


def test_dirichlet_draws_again_until_no_partition_is_empty() -> None:
    # Three labels can only just fill three partitions at this alpha; most first draws leave one empty.
    labels = np.repeat(np.arange(3), 50)
    for seed in range(20):
        parts = split_indices(labels, PartitionRule("dirichlet", 0.02), 3, seed)
        assert_each_in_exactly_one(parts, 3, 150)


def test_dirichlet_with_a_partition_that_stays_empty_is_refused() -> None:
    assert error_of(np.repeat(np.arange(2), 50), "dirichlet:0.001", 40) == (
        "PARTITION=dirichlet:0.001, NUM_PARTITIONS=40: a partition was empty in each of 100 draws"
        " over 100 training examples; expected a larger alpha or fewer partitions"
    )


# The rule labels


def test_two_nodes_with_five_digits_have_0_to_4_and_5_to_9(mnist_labels: NDArray[np.int64]) -> None:
    parts = split_indices(mnist_labels, PartitionRule("labels", 5), 2, seed=0)
    assert labels_held(mnist_labels, parts) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert [len(part) for part in parts] == [
        5923 + 6742 + 5958 + 6131 + 5842,
        5421 + 5918 + 6265 + 5851 + 5949,
    ]


def test_labels_are_assigned_in_a_cycle_and_a_shared_label_is_divided_evenly_at_random() -> None:
    labels = np.tile(np.arange(10), 21)
    parts = split_indices(labels, PartitionRule("labels", 4), 3, seed=0)
    assert labels_held(labels, parts) == [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 8, 9]]
    assert [np.bincount(labels[part], minlength=10).tolist() for part in parts] == [
        [11, 11, 21, 21, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 21, 21, 21, 21, 0, 0],
        [10, 10, 0, 0, 0, 0, 0, 0, 21, 21],
    ]
    zeros_of_first = parts[0][labels[parts[0]] == 0] // 10
    assert zeros_of_first.tolist() != list(range(11))


def test_labels_are_counted_by_their_order_not_by_their_value() -> None:
    labels = as_labels([100, -3, 7, 100, -3, 7, 50, 50])
    parts = split_indices(labels, PartitionRule("labels", 2), 2, seed=0)
    assert [part.tolist() for part in parts] == [[1, 2, 4, 5], [0, 3, 6, 7]]


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 12), st.data())
def test_each_partition_holds_exactly_k_labels(distinct: int, number: int, data: st.DataObject) -> None:
    per_partition = data.draw(st.integers(-(-distinct // number), distinct))
    labels = np.repeat(np.arange(distinct), number)
    parts = split_indices(labels, PartitionRule("labels", per_partition), number, seed=0)
    assert labels_held(labels, parts) == [
        sorted((i * per_partition + j) % distinct for j in range(per_partition)) for i in range(number)
    ]


def test_labels_that_no_partition_would_have_are_refused() -> None:
    assert error_of(np.repeat(np.arange(10), 3), "labels:3", 3) == (
        "PARTITION=labels:3, NUM_PARTITIONS=3: 1 of the 10 labels would be in no partition;"
        " expected K of at least 4, or at least 4 partitions"
    )


def test_more_labels_per_partition_than_there_are_is_refused() -> None:
    assert error_of(np.repeat(np.arange(10), 3), "labels:11", 3) == (
        "PARTITION=labels:11: only 10 training labels; expected K of at most 10"
    )


def test_a_label_with_fewer_examples_than_partitions_is_refused() -> None:
    assert error_of(as_labels([5, 5, 5, 8, 8]), "labels:2", 3) == (
        "PARTITION=labels:2, NUM_PARTITIONS=3: label 8 has 2 training examples for 3 partitions;"
        " expected fewer partitions or a smaller K"
    )


# The rule shards


def test_shards_are_slices_of_the_label_sorted_examples() -> None:
    labels = as_labels([2, 0, 1, 2, 0, 1, 2, 0, 1])
    parts = split_indices(labels, PartitionRule("shards", 1), 3, seed=0)
    assert sorted(part.tolist() for part in parts) == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


def test_two_shards_of_300_digits_per_node_as_in_the_paper(mnist_labels: NDArray[np.int64]) -> None:
    parts = split_indices(mnist_labels, PartitionRule("shards", 2), 100, seed=0)
    assert {len(part) for part in parts} == {600}
    held = [len(labels) for labels in labels_held(mnist_labels, parts)]
    # Each shard of 300 spans at most two digits, since no digit has fewer than 300.
    assert max(held) <= 4
    assert sum(held) / 100 < 2.5
    assert min(held) == 1


def test_shards_are_dealt_at_random() -> None:
    labels = np.repeat(np.arange(4), 5)
    dealt = {
        str(labels_held(labels, split_indices(labels, PartitionRule("shards", 2), 2, seed)))
        for seed in range(99)
    }
    # There are 4 choose 2 ways to deal four shards of one label each to two partitions.
    assert len(dealt) == 6


def test_examples_of_one_label_are_shuffled_before_they_are_cut() -> None:
    parts = split_indices(as_labels([0] * 100), PartitionRule("shards", 1), 2, seed=0)
    assert all(part.max() - part.min() > 60 for part in parts)


def test_sizes_of_shards_differ_by_at_most_one() -> None:
    sizes = sorted(
        len(part) for part in split_indices(as_labels([0] * 11), PartitionRule("shards", 1), 4, seed=0)
    )
    assert sizes == [2, 3, 3, 3]


def test_more_shards_than_examples_are_refused() -> None:
    assert error_of(as_labels([0] * 11), "shards:3", 4) == (
        "PARTITION=shards:3, NUM_PARTITIONS=4: only 11 training examples for 12 shards;"
        " expected NUM_PARTITIONS * K of at most 11"
    )


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
