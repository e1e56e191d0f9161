"""A run in a terminal, for `make run` and `python -m server watch`. Nothing here imports Flower.

fields.py      reads typed values from JSON
snapshot.py    what is shown, read from a status document
activity.py    describes what the server does and waits for
figures.py     numbers, times and curves as text
metrics.py     the order of metrics
source.py      reads the document from a status server
columns.py     tables as lines of text
nodes.py       the part of the screen with the nodes
screen.py      the whole screen
live.py        redraws it periodically
lines.py       the run as lines, where output is not a terminal
watch.py       follows a run to its end
command.py     `python -m server watch`
"""
