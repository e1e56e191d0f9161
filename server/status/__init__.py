"""The status server: a page, JSON and metrics of the run, read-only, on threads of its own.

live.py        what is known of the run now
metrics.py     the same for Prometheus
stored.py      the runs on disk
replies.py     what is sent: built at most once a second, compressed, with an ETag
routes.py      the paths
readers.py     who reads the status, and has read the end
guard.py       what applies to every request: methods, names of this server, headers
listening.py   the socket and the thread
"""
