"""The status server: a page, JSON and metrics of the run, read-only, on threads of its own.

live.py        the current state of the run
metrics.py     the same for Prometheus
stored.py      the runs on disk
replies.py     response bodies: built at most once a second, compressed, with an ETag
json_text.py   values as JSON
routes.py      the paths
readers.py     who polls the status, and who has read the outcome
guard.py       checks and headers for every request
listening.py   the socket and the thread
"""
