"""A task's data: the checked `Dataset`, and readers of common file formats."""

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
from client.data.idx import read_idx_dataset
from client.data.image_folder import ImageFolder, load_image_folders
from client.data.image_records import ImageRecords, load_image_records
from client.data.npz_file import load_npz, read_npz
from client.data.table import Table

__all__ = [
    "MAX_EXACT",
    "CsvFormat",
    "Dataset",
    "ImageFolder",
    "ImageRecords",
    "Table",
    "are_class_numbers",
    "encode",
    "encode_inputs",
    "labels_sha256",
    "list_classes",
    "load_image_folders",
    "load_image_records",
    "load_npz",
    "make_dataset",
    "read_csv",
    "read_examples",
    "read_idx_dataset",
    "read_npz",
    "scale_label",
    "unscale_label",
]
