"""The metrics of a run for Prometheus, which follow its conventions for names and units.

Labels have few values: names of metrics and sites are limited by admission and by certificates, and reasons
are reduced to categories. No text of a node becomes a label.
"""

import math
import re
import time
from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import prometheus_client as prometheus
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from fedmx import __version__
from fedmx.link.member import NodeView
from server.status.node_states import NODE_STATES, find_node_state

STATES = ("waiting", "running", "finished", "failed", "interrupted")
_PHASES = ("train", "aggregate", "evaluate", "checkpoint")
_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
# The first pattern that matches the reason of admission counts; all others are errors from nodes.
_CATEGORIES = (
    ("not_finite", re.compile(r"(array|metric) .*finite( number)?$")),
    ("arrays", re.compile(r"array |\d+ array records,")),
    ("metrics", re.compile(r"metric |num-examples |\d+ metric")),
    ("counts", re.compile("counts by class")),
)
_ERROR = "error"


def categorize(reason: str) -> str:
    """Return the category of the reason for which an update was rejected."""
    return next((name for name, pattern in _CATEGORIES if pattern.match(reason)), _ERROR)


class Metrics:
    """All metrics. Not thread-safe: one thread owns them.

    Args:
        expiries: of certificates by owner, in seconds since the epoch.
    """

    def __init__(self, expiries: Mapping[str, float]) -> None:
        # Otherwise, each counter would have a second metric with the time of its creation.
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._rounds = self._count("rounds", "Finished rounds of the run.")
        self._target = self._gauge("rounds_target", "Rounds that the run will have (NUM_ROUNDS).")
        self._phases = self._histogram(
            "phase_duration_seconds", "How long the phases of rounds took.", "phase"
        )
        self._durations = self._histogram("round_duration_seconds", "How long rounds took.")
        self._bytes = self._count(
            "transferred_bytes", "Bytes of messages from (up) and to (down) nodes.", "direction"
        )
        self._rejected = self._count("updates_rejected", "Replies of nodes that were rejected.", "reason")
        self._missing = self._count("updates_missing", "Replies of nodes that did not come.")
        self._left_out = self._count(
            "updates_left_out", "Nodes that a quorum of the others did not wait for, once for each round."
        )
        self._evaluation = self._gauge("evaluation", "Metrics of the newest evaluation.", "metric")
        self._training = self._gauge("training", "Metrics of the newest training.", "metric")
        self._learning_rate = self._gauge("learning_rate", "Learning rate of the newest round.")
        self._last_round = self._gauge("last_round_timestamp_seconds", "When the newest round was finished.")
        self._started = self._gauge(
            "start_timestamp_seconds", "When this server began or resumed the training; 0 before."
        )
        self._nodes = self._gauge("nodes", "Nodes by what they do.", "state")
        self._site_up = self._gauge(
            "site_up", "Whether a site has a connected node; none if it has left for good.", "site"
        )
        self._site_seen = self._gauge(
            "site_last_seen_timestamp_seconds", "When a site last had a connected node.", "site"
        )
        self._site_ends = self._gauge(
            "site_certificate_expiry_timestamp_seconds",
            "When the certificate of a site expires that a connected node uses.",
            "site",
        )
        self._state = self._gauge("run_state", "1 for the state of the run, 0 for all others.", "state")
        self._info = Info("fedmx_run", "The run.", registry=self._registry)
        self._privacy: dict[str, Gauge] = {}
        self._initialize(expiries)

    def note_run(self, run_id: str, settings: Mapping[str, Any]) -> None:
        """Set the labels of the run."""
        name = str(settings.get("RUN_NAME") or "")
        self._info.info({"run_id": run_id, "name": name, "version": __version__})
        self._target.set(settings["NUM_ROUNDS"])

    def note_start(self, moment: float) -> None:
        """Set when training started, in seconds since the epoch."""
        self._started.set(moment)

    def note_state(self, state: str) -> None:
        """Set the state of the run."""
        for each in STATES:
            self._state.labels(each).set(each == state)

    def note_nodes(self, nodes: Iterable[NodeView], epoch: float) -> None:
        """Set the numbers of nodes, and the state of each site.

        Args:
            nodes: all that ever joined.
            epoch: the difference between seconds since the epoch and monotonic seconds.
        """
        nodes = list(nodes)
        tally = Tally(map(find_node_state, nodes))
        for state in NODE_STATES:
            self._nodes.labels(state).set(tally[state])
        self._note_sites(nodes, epoch)

    def _note_sites(self, nodes: Iterable[NodeView], epoch: float) -> None:
        seen: dict[str, float] = {}
        ends: dict[str, float] = {}
        up = set()
        for node in nodes:
            if not node.site or node.is_expelled:
                continue
            moment = time.time() if node.is_present else epoch + node.since
            seen[node.site] = max(moment, seen.get(node.site, 0.0))
            if node.is_present:
                up.add(node.site)
            if node.is_present and node.certificate_ends is not None:
                ends[node.site] = min(node.certificate_ends, ends.get(node.site, math.inf))
        _replace(self._site_seen, seen)
        _replace(self._site_up, {site: site in up for site in seen})
        _replace(self._site_ends, ends)

    def add(self, line: Mapping[str, Any]) -> None:
        """Add a round, as a line of `history.jsonl` has it."""
        self._rounds.inc()
        self._durations.observe(line["seconds"]["total"])
        for phase in _PHASES:
            self._phases.labels(phase).observe(line["seconds"][phase])
        entries = [*line["nodes"], *line.get("only_evaluated", ())]
        for direction in ("up", "down"):
            self._bytes.labels(direction).inc(sum(entry[f"bytes_{direction}"] or 0 for entry in entries))
        for rejection in line["rejected"]:
            self._rejected.labels(categorize(rejection["reason"])).inc()
        self._missing.inc(len(line["missing"]))
        self._left_out.inc(len(line["left_out"]))
        # A round without an evaluation keeps the metrics of an earlier one.
        for step, gauge in (("evaluate", self._evaluation), ("train", self._training)):
            if line.get(step):
                _replace(gauge, line[step]["metrics"])
        if line.get("learning_rate") is not None:
            self._learning_rate.set(line["learning_rate"])
        if line.get("time"):
            self._last_round.set(datetime.fromisoformat(line["time"]).timestamp())
        for name, value in (line.get("privacy") or {}).items():
            # Created only with differential privacy: an epsilon of 0 would mean perfect privacy.
            if name not in self._privacy:
                self._privacy[name] = self._gauge(f"privacy_{name}", f"The {name} that is spent.")
            self._privacy[name].set(value)

    def to_text(self) -> tuple[bytes, str]:
        """Return the exposition and its media type."""
        return prometheus.generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def _initialize(self, expiries: Mapping[str, float]) -> None:
        """Set initial values: Prometheus cannot see the first increase of a counter that did not exist."""
        self.note_state("waiting")
        self.note_nodes((), 0.0)
        for direction in ("up", "down"):
            self._bytes.labels(direction)
        for name in (*(name for name, _ in _CATEGORIES), _ERROR):
            self._rejected.labels(name)
        if expiries:
            certificates = self._gauge(
                "certificate_expiry_timestamp_seconds", "When a certificate expires.", "certificate"
            )
            for owner, moment in expiries.items():
                certificates.labels(owner).set(moment)

    def _count(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"fedmx_{name}", meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"fedmx_{name}", meaning, labels, registry=self._registry)

    def _histogram(self, name: str, meaning: str, *labels: str) -> Histogram:
        return Histogram(f"fedmx_{name}", meaning, labels, registry=self._registry, buckets=_BUCKETS_S)


def _replace(gauge: Gauge, values: Mapping[str, float]) -> None:
    gauge.clear()
    for label, value in values.items():
        gauge.labels(label).set(value)
