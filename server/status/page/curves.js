// The curves of a run: one metric for all nodes together and for each node, and how its rounds went.

const MOST_NODES = 7;
const MOST_BACKGROUND = 20000;

class MetricCurves {
  constructor() {
    this.together = new Chart({ title: "All nodes together", height: 260 });
    this.byNode = new Chart({ title: "Each node", height: 260 });
    this.added = new Map();
    find("metric-charts").append(this.together.element, this.byNode.element);
    find("metric").addEventListener("change", () => this.draw());
    find("logarithmic").addEventListener("change", () => this.draw());
    find("add-node").addEventListener("click", () => this.add(find("node").value));
    find("clear-nodes").addEventListener("click", () => this.clear());
  }

  update(run) {
    this.run = run;
    setOptions(find("metric"), listMetrics(run));
    this.draw();
  }

  draw() {
    const metric = find("metric").value;
    const isLogarithmic = find("logarithmic").checked;
    const curves = curvesOfMetric(this.run, metric);
    const best = bestOf(this.run);
    const isMarked = best !== null && best.metric === metric;
    this.together.update({
      title: `${capitalize(metric || "metrics")}, all nodes together`,
      series: curves,
      mark: isMarked ? { key: "evaluate", round: best.round, value: best.value } : null,
      note: isMarked ? `best in round ${best.round}` : "",
      isLogarithmic,
    });
    this.drawNodes(metric, isLogarithmic);
  }

  drawNodes(metric, isLogarithmic) {
    const nodes = curvesOfNodes(this.run, metric);
    const isMany = nodes.length > MOST_NODES;
    const main = comparedCurve(this.run, metric);
    const all = { ...main, key: "all", label: "All together", slot: 0, weight: "main" };
    const own = isMany ? this.choose(nodes) : nodes.map((node, index) => nodeCurve(node, node.name, index + 1));
    this.byNode.element.hidden = nodes.length === 0;
    this.byNode.update({
      title: `${capitalize(metric || "metrics")}, each node`,
      series: [all, ...own].filter(hasValues),
      background: isMany ? thinOut(nodes) : [],
      note: isMany ? `${formatCount(nodes.length)} nodes in grey` : "",
      isLogarithmic,
    });
    this.offer(isMany ? nodes : []);
  }

  /** Choose the nodes with the lowest and the highest value in the newest round, and those that were added. */
  choose(nodes) {
    const last = (node) => lastOf(node.y);
    const lowest = nodes.reduce((one, other) => (last(other) < last(one) ? other : one));
    const highest = nodes.reduce((one, other) => (last(other) > last(one) ? other : one));
    const added = nodes.filter((node) => this.added.has(node.name));
    return [
      { ...nodeCurve(lowest, `Lowest: ${lowest.name}`, 1), key: "lowest" },
      { ...nodeCurve(highest, `Highest: ${highest.name}`, 2), key: "highest" },
      ...added.map((node) => nodeCurve(node, node.name, this.added.get(node.name))),
    ];
  }

  offer(nodes) {
    find("adding").hidden = nodes.length === 0;
    setOptions(find("node"), nodes.map((node) => node.name).filter((name) => !this.added.has(name)));
    find("clear-nodes").hidden = this.added.size === 0;
  }

  add(name) {
    if (!name) return;
    const used = new Set(this.added.values());
    let slot = 3;
    while (used.has(slot)) slot += 1;
    this.added.set(name, slot);
    this.draw();
  }

  clear() {
    this.added.clear();
    this.draw();
    find("add-node").focus();
  }
}

const nodeCurve = ({ name, x, y }, label, slot) => ({ x, y, key: `node ${name}`, label, slot });

/** Thin out the points of many curves that are only a background. */
function thinOut(curves) {
  const every = Math.ceil(sum(curves.map((curve) => curve.x.length)) / MOST_BACKGROUND);
  if (every <= 1) return curves;
  const isKept = (_, index, all) => index % every === 0 || index === all.length - 1;
  return curves.map(({ x, y }) => ({ x: x.filter(isKept), y: y.filter(isKept) }));
}

/** Small charts of what a round costs: seconds by phase, bytes, nodes, learning rate, privacy. */
class CourseCurves {
  constructor() {
    const small = { height: 170, isFromZero: true };
    this.charts = {
      seconds: new Chart({ title: "Time by phase", format: formatSeconds, ...small }),
      bytes: new Chart({ title: "Traffic per round", format: formatBytes, ...small }),
      nodes: new Chart({ title: "Nodes per round", isWhole: true, ...small }),
      rate: new Chart({ title: "Learning rate", ...small }),
      privacy: new Chart({ title: "Privacy spent", ...small }),
    };
    find("course-charts").append(...Object.values(this.charts).map((chart) => chart.element));
  }

  update(run) {
    const phases = ["train", "evaluate", "aggregate", "checkpoint", "total"];
    const labels = ["Training", "Evaluation", "Aggregation", "Checkpoint", "Total"];
    this.draw("seconds", phases.map((name, slot) => series(run, ["seconds", name], labels[slot], slot)));
    this.draw("bytes", [
      series(run, ["bytes_up"], "From the nodes", 0),
      series(run, ["bytes_down"], "To the nodes", 1),
    ]);
    this.draw("nodes", [series(run, ["nodes"], "With an admitted update", 0)]);
    this.draw("rate", [series(run, ["learning_rate"], "Learning rate", 0)]);
    this.draw("privacy", [series(run, ["epsilon"], "Epsilon", 0)]);
  }

  draw(name, curves) {
    const filled = curves.filter(hasValues);
    // A chart without values is left out; that of the seconds says that no round has ended.
    this.charts[name].element.hidden = filled.length === 0 && name !== "seconds";
    this.charts[name].update({ series: filled });
  }
}

const series = (run, path, label, slot) => ({ ...curveOf(run, ...path), key: path.join(" "), label, slot });
