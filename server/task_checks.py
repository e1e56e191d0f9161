"""Checks of the nodes' task against the server's settings, which may require metrics or a kind of model."""

from collections.abc import Iterator

from flwr.app import MessageType

from fedmx.errors import SettingsError
from fedmx.log import event, warn
from fedmx.settings import ServerSettings
from server import strategies
from server.layout import Layout
from server.report import RoundReport
from server.update import LOSS


def check_task(layout: Layout, settings: ServerSettings) -> None:
    """Check that the model and the metrics of the nodes' task fit the settings.

    Raises:
        SettingsError: a metric is missing, or the model does not allow differential privacy.
    """
    trained = layout.train_metrics
    if strategies.needs_loss(settings) and trained is not None and LOSS not in trained:
        found = ", ".join(sorted(trained)) or "no metrics"
        raise SettingsError(
            f"STRATEGY={settings.strategy}: needs the loss of the nodes' training, which measures {found};"
            " expected a task whose training returns 'loss', or another strategy"
        )
    if layout.evaluated is not None:
        _check_metrics(layout.evaluated, settings)
    if settings.dp_mode != "off" and layout.running:
        raise SettingsError(
            f"DP_MODE={settings.dp_mode}: the model has arrays that change without gradients"
            f" ({layout.running[0]}): running statistics, or weights that are not trained; they are averaged"
            " without clipping and noise; expected a model in which every array is trained or in FROZEN, or"
            " DP_MODE=off"
        )


def warn_of_unmeasured(report: RoundReport, settings: ServerSettings) -> None:
    """Log a WARNING for each setting whose metric is missing in the evaluation of a round.

    A task's own function may return metrics of any names, which are not known before round 1.
    """
    if report.evaluate is None:
        return
    undefined = [name for one in report.undefined if one.step == MessageType.EVALUATE for name in one.metrics]
    measured = sorted({*report.evaluate.metrics, *undefined})
    for setting, metric in _list_required_metrics(settings):
        if metric not in measured:
            warn("the evaluation lacks a metric", setting=setting, metric=metric, measured=measured)


def _check_metrics(measured: frozenset[str], settings: ServerSettings) -> None:
    for name, metric in _list_required_metrics(settings):
        if metric not in measured:
            found = ", ".join(sorted(measured)) or "nothing"
            raise SettingsError(
                f"{name}: {metric!r} is not a metric of the nodes' evaluation; expected one that it"
                f" measures: {found}"
            )
    if settings.best_metric.metric not in measured:
        event("no best round", best_metric=settings.best_metric, measured=sorted(measured))


def _list_required_metrics(settings: ServerSettings) -> Iterator[tuple[str, str]]:
    """Yield the settings that need a metric of the evaluation, each with the metric's name."""
    if settings.target is not None:
        yield f"TARGET={settings.target}", settings.target.metric
    # A task without a loss has no best round by default.
    if settings.patience or settings.best_metric != ServerSettings.best_metric:
        yield f"BEST_METRIC={settings.best_metric}", settings.best_metric.metric
