"""A task's data: what a checked dataset is, and readers of files in the formats that data is kept in."""

from client.data.csv_file import read_csv
from client.data.csv_rows import CsvFormat
from client.data.dataset import MAX_EXACT, Dataset, are_class_numbers, labels_sha256, make_dataset
from client.data.encoding import (
    encode,
    encode_inputs,
    list_classes,
    read_examples,
    scale_label,
    unscale_label,
)
from client.data.image_folder import ImageFolder, load_image_folders
from client.data.table import Table

__all__ = [
    "MAX_EXACT",
    "CsvFormat",
    "Dataset",
    "ImageFolder",
    "Table",
    "are_class_numbers",
    "encode",
    "encode_inputs",
    "labels_sha256",
    "list_classes",
    "load_image_folders",
    "make_dataset",
    "read_csv",
    "read_examples",
    "scale_label",
    "unscale_label",
]
