"""Keeps the arrays of a task's dataset in DATA_CACHE, for later processes that would decode the same files.

datasets.py  decides what is kept, and what an entry depends on
sources.py   the digest of the code that reads a dataset
entry.py     an entry on disk: written whole, checked when it is read
"""
