// Reads a run's document: what the page's parts show of it. Nothing here touches the page.

const STATES = {
  waiting: "Waiting for nodes",
  running: "Running",
  finished: "Finished",
  failed: "Failed",
  interrupted: "Interrupted",
};
const STOPPED = {
  target: "stopped early: TARGET was reached",
  patience: "stopped early: no better round within PATIENCE",
  epsilon: "stopped early: the next round would exceed MAX_EPSILON",
};
const RECENT = 10;

const asObject = (value) => (value !== null && typeof value === "object" && !Array.isArray(value) ? value : {});
const asList = (value) => (Array.isArray(value) ? value : []);
const isOver = (status) => ["finished", "failed", "interrupted"].includes(status);
const nameOf = (run) => run.name || run.run_id || "";
const sum = (values) => values.filter(isNumber).reduce((total, value) => total + value, 0);

/** Return the names of all metrics of the evaluation and of the training, the loss first. */
function listMetrics(...runs) {
  const names = new Set();
  for (const run of runs) {
    const curves = asObject(run.curves);
    for (const kind of ["evaluate", "train"]) {
      for (const [name, values] of Object.entries(asObject(curves[kind]))) {
        if (asList(values).some(isNumber)) names.add(name);
      }
    }
  }
  const rank = (name) => (name === "loss" ? 0 : name === "accuracy" ? 1 : 2);
  return [...names].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
}

/** Return a curve of a run, such as `curveOf(run, "evaluate", "loss")`; its values are empty if there is none. */
function curveOf(run, ...path) {
  const curves = asObject(run.curves);
  const values = path.reduce((value, name) => (Object.hasOwn(asObject(value), name) ? value[name] : null), curves);
  return { x: asList(curves.rounds), y: asList(values) };
}

const hasValues = (curve) => curve.y.some(isNumber);

function curvesOfMetric(run, metric) {
  const evaluated = { ...curveOf(run, "evaluate", metric), key: "evaluate", label: "Evaluation", slot: 0, weight: "main" };
  const trained = { ...curveOf(run, "train", metric), key: "train", label: "Training", slot: 1 };
  return [evaluated, trained].filter(hasValues);
}

/** Return the curve of one metric by which runs are compared: of the evaluation, or else of the training. */
function comparedCurve(run, metric) {
  const evaluated = curveOf(run, "evaluate", metric);
  if (hasValues(evaluated)) return { ...evaluated, kind: "" };
  return { ...curveOf(run, "train", metric), kind: " (training)" };
}

/** Return the curves of all nodes for a metric, by name. */
function curvesOfNodes(run, metric) {
  const sampled = asObject(run.node_curves);
  return Object.entries(asObject(sampled.nodes))
    .map(([name, metrics]) => ({
      name,
      x: asList(sampled.rounds),
      y: Object.hasOwn(asObject(metrics), metric) ? asList(metrics[metric]) : [],
    }))
    .filter(hasValues);
}

/** Return how long a run has lasted, in seconds; null if it is unknown. */
function measureElapsed(run, now) {
  const started = parseTime(run.started);
  const lastRound = parseTime(asList(asObject(run.curves).time).at(-1));
  const end = isOver(run.status) ? parseTime(run.finished) ?? lastRound : now ?? lastRound;
  return started === null || end === null ? null : Math.max(0, end - started);
}

/** Estimate the seconds until the last round is done, from the newest rounds; null before the first. */
function estimateRemaining(run, now) {
  const totals = asList(asObject(asObject(run.curves).seconds).total).filter(isNumber).slice(-RECENT);
  const left = run.num_rounds - run.rounds;
  if (isOver(run.status) || !isNumber(now) || !totals.length || !(left > 0)) return null;
  const each = sum(totals) / totals.length;
  const since = parseTime(asList(asObject(run.curves).time).at(-1));
  const spent = since === null ? 0 : Math.min(each, Math.max(0, now - since));
  return each * left - spent;
}

const endsEarly = (run) => Boolean(asObject(run.settings).TARGET || asObject(run.settings).PATIENCE);

/** Return the value of the best round, from an entry with the metric's name, or with `metric` and `value`. */
function bestOf(run) {
  const best = asObject(run.best);
  if (!isNumber(best.round)) return null;
  if (typeof best.metric === "string") return { round: best.round, metric: best.metric, value: best.value };
  const metric = Object.keys(best).find((name) => name !== "round" && isNumber(best[name]));
  return metric === undefined ? null : { round: best.round, metric, value: best[metric] };
}

/** Return a sentence about a finished round, for screen readers. */
function describeRound(run) {
  const values = listMetrics(run)
    .slice(0, 3)
    .map((metric) => {
      const { y, kind } = comparedCurve(run, metric);
      return `${metric}${kind} ${formatNumber(y.at(-1))}`;
    });
  return `Round ${run.rounds} of ${run.num_rounds} finished${values.length ? `: ${values.join(", ")}` : ""}.`;
}

/** Return the settings of runs that differ, by name, without those that are not compared; a setting that a run lacks is undefined. */
function findDifferences(runs, known) {
  const names = new Set(runs.flatMap((run) => Object.keys(asObject(run.settings))));
  const valueOf = (run, name) => asObject(run.settings)[name];
  return [...names]
    .filter((name) => !Object.hasOwn(known, name) || known[name].is_compared)
    .map((name) => ({ name, values: runs.map((run) => valueOf(run, name)) }))
    .filter(({ values }) => values.some((value) => JSON.stringify(value) !== JSON.stringify(values[0])));
}
