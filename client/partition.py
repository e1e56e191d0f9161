"""(labels, rule, number, seed) -> the examples of each partition; pure functions.

Labels are (n, ...); every rule except `iid` needs class numbers, int64 (n,). A split is a list of `number`
ascending int64 index arrays: every example is in exactly one of them, and none is empty. All randomness
derives from the seed, so nodes that hold the same dataset agree on a split without exchanging it.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from client.data import are_class_numbers
from fedmx.errors import DataError
from fedmx.values import PartitionRule

Indices: TypeAlias = NDArray[np.int64]

_DIRICHLET_DRAWS = 100
# Above this, numpy's draw overflows to shares of zero, and shares are practically equal long before.
_LARGEST_ALPHA = 1e9


def split_indices(labels: NDArray[Any], rule: PartitionRule, number: int, seed: int) -> list[Indices]:
    """Split the training set.

    Args:
        labels: (n, ...) of any dtype for `iid`, which depends on n only; int64 (n,) for the others.
        rule: `iid`, `dirichlet:ALPHA`, `labels:K` or `shards:K`, as the functions below describe them.
        number: of partitions.
        seed: at least 0.

    Returns:
        The ascending indices of each partition, int64.

    Raises:
        DataError: the labels are not class numbers although the rule needs them, or a partition would be
            empty (`labels:K`: or without one of its K labels).
        ValueError: the rule is `none`, which has no shared dataset to split.
    """
    if not rule.is_shared:
        raise ValueError(f"PARTITION={rule}: a site's own data is not split")
    if rule.kind != "iid":
        _check_class_numbers(labels, rule)
    _check_number(len(labels), number, "training")
    random = _derive_random(seed, "split the training set")
    if rule.kind == "iid":
        parts = np.array_split(random.permutation(len(labels)), number)
    elif rule.kind == "dirichlet":
        parts = _split_dirichlet(labels, rule, number, random)
    elif rule.kind == "labels":
        parts = _split_by_labels(labels, rule, number, random)
    else:
        parts = _split_shards(labels, rule, number, random)
    return [np.sort(part) for part in parts]


def split_test_indices(count: int, number: int, seed: int) -> list[Indices]:
    """Split the test set at random into sizes that differ by at most one, for every rule of the training set.

    Each node evaluates on examples of all classes, and the mean accuracy of all nodes, weighted by examples,
    is the accuracy on the whole test set.

    Args:
        count: the number of test examples.
        number: of partitions.
        seed: at least 0.

    Returns:
        The ascending indices of each partition, int64.

    Raises:
        DataError: there are fewer examples than partitions.
    """
    _check_number(count, number, "test")
    random = _derive_random(seed, "split the test set")
    return [np.sort(part) for part in np.array_split(random.permutation(count), number)]


def _check_class_numbers(labels: NDArray[Any], rule: PartitionRule) -> None:
    if not are_class_numbers(labels):
        raise DataError(
            f"PARTITION={rule}: training labels are {labels.dtype} of shape {labels.shape}; expected class"
            " numbers, one whole number per example (PARTITION=iid and PARTITION=none accept any labels)"
        )


def _check_number(count: int, number: int, kind: str) -> None:
    if number < 1:
        raise DataError(f"NUM_PARTITIONS={number}: expected at least 1 partition")
    if number > count:
        raise DataError(
            f"NUM_PARTITIONS={number}: only {count} {kind} examples; expected at most {count} partitions"
        )


def _derive_random(seed: int, purpose: str) -> np.random.Generator:
    """Return a generator for one purpose, so that no draw depends on the length of another one."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(purpose.encode())))


def _group_by_label(labels: NDArray[np.int64], random: np.random.Generator) -> list[Indices]:
    """Return the indices of each distinct label, in the order of the labels, shuffled within each label."""
    order = random.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    _, counts = np.unique(labels, return_counts=True)
    return np.split(order, np.cumsum(counts)[:-1])


def _split_dirichlet(
    labels: NDArray[np.int64], rule: PartitionRule, number: int, random: np.random.Generator
) -> list[Indices]:
    """Skew labels: divide each label into shares that are drawn from a symmetric Dirichlet distribution.

    The skew of Hsu et al. 2019 (arXiv:1909.06335), drawn for each label over the partitions as in Yurochkin
    et al. 2019 (arXiv:1905.12022), which places every example once. Small alpha: each label in few
    partitions; large alpha: equal shares.
    """
    groups = _group_by_label(labels, random)
    sizes = np.array([[len(group)] for group in groups])
    alpha = np.full(number, min(rule.parameter, _LARGEST_ALPHA))
    for _ in range(_DIRICHLET_DRAWS):
        # Bounds are rounded rather than sizes, since rounded sizes need not add up to the whole.
        bounds = np.cumsum(random.dirichlet(alpha, len(groups)), axis=1)[:, :-1] * sizes
        bounds = np.rint(bounds).astype(np.int64)
        if np.diff(bounds, prepend=0, append=sizes).any(axis=0).all():
            shares = [np.split(group, inner) for group, inner in zip(groups, bounds, strict=True)]
            return [np.concatenate(part) for part in zip(*shares, strict=True)]
    raise DataError(
        f"PARTITION={rule}, NUM_PARTITIONS={number}: a partition was empty in each of"
        f" {_DIRICHLET_DRAWS} draws over {len(labels)} training examples;"
        " expected a larger alpha or fewer partitions"
    )


def _split_by_labels(
    labels: NDArray[np.int64], rule: PartitionRule, number: int, random: np.random.Generator
) -> list[Indices]:
    """Assign the labels i*K ... i*K+K-1 to partition i, cycling through the sorted labels.

    A label of several partitions is divided among them into sizes that differ by at most one.
    """
    per_partition = int(rule.parameter)
    groups = _group_by_label(labels, random)
    _check_labels(rule, number, len(groups))
    holders: list[list[int]] = [[] for _ in groups]
    for turn in range(number * per_partition):
        holders[turn % len(groups)].append(turn // per_partition)
    parts: list[list[Indices]] = [[] for _ in range(number)]
    for group, among in zip(groups, holders, strict=True):
        if len(group) < len(among):
            raise DataError(
                f"PARTITION={rule}, NUM_PARTITIONS={number}: label {labels[group[0]]} has"
                f" {len(group)} training examples for {len(among)} partitions;"
                " expected fewer partitions or a smaller K"
            )
        for holder, share in zip(among, np.array_split(group, len(among)), strict=True):
            parts[holder].append(share)
    return [np.concatenate(part) for part in parts]


def _check_labels(rule: PartitionRule, number: int, distinct: int) -> None:
    per_partition = int(rule.parameter)
    if per_partition > distinct:
        raise DataError(
            f"PARTITION={rule}: only {distinct} training labels; expected K of at most {distinct}"
        )
    if number * per_partition < distinct:
        raise DataError(
            f"PARTITION={rule}, NUM_PARTITIONS={number}: {distinct - number * per_partition} of the"
            f" {distinct} labels would be in no partition; expected"
            f" K of at least {-(-distinct // number)}, or at least {-(-distinct // per_partition)} partitions"
        )


def _split_shards(
    labels: NDArray[np.int64], rule: PartitionRule, number: int, random: np.random.Generator
) -> list[Indices]:
    """Cut the examples, sorted by label, into number*K shards and deal K of them at random to each partition.

    The division of McMahan et al. 2017 (arXiv:1602.05629), where K is 2. Their sizes differ by at most one.
    """
    per_partition = int(rule.parameter)
    if number * per_partition > len(labels):
        raise DataError(
            f"PARTITION={rule}, NUM_PARTITIONS={number}: only {len(labels)} training examples for"
            f" {number * per_partition} shards; expected NUM_PARTITIONS * K of at most {len(labels)}"
        )
    shards = np.array_split(np.concatenate(_group_by_label(labels, random)), number * per_partition)
    deal = random.permutation(len(shards)).reshape(number, per_partition)
    return [np.concatenate([shards[shard] for shard in dealt]) for dealt in deal]
