"""A task's data: what a checked dataset is, and readers of files in the formats that data is kept in."""

from client.data.dataset import MAX_EXACT, Dataset, are_class_numbers, labels_sha256, make_dataset

__all__ = ["MAX_EXACT", "Dataset", "are_class_numbers", "labels_sha256", "make_dataset"]
