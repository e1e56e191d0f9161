"""Partitions by the classes of the examples: the rules dirichlet, labels and shards as published."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.partition import split_indices
from fedmx.values import PartitionRule
from tests.client.given.splits import (
    as_labels,
    assert_each_in_exactly_one,
    error_of,
    labels_held,
    read_mnist_labels,
)

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


def test_two_nodes_with_five_digits_have_0_to_4_and_5_to_9() -> None:
    mnist_labels = read_mnist_labels()
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


def test_two_shards_of_300_digits_per_node_as_in_the_paper() -> None:
    mnist_labels = read_mnist_labels()
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
