"""A run in a terminal, for `make run` and `python -m server watch`. Nothing here imports Flower.

fields.py      typed values out of JSON
snapshot.py    what is shown, out of a status document
activity.py    what the server does and waits for, in words
figures.py     numbers, times and curves as text
metrics.py     their order
source.py      reads the document from a status server
columns.py     tables as lines of text
nodes.py       the part of the screen with the nodes
screen.py      the whole screen
live.py        draws it again and again
lines.py       the same for output that is no terminal
watch.py       follows a run to its end
command.py     `python -m server watch`
"""
