// The list of runs, and the comparison of those that the reader chooses.

const MOST_COMPARED = 8;

class Comparison {
  /**
   * `load` returns the promise of a run's document; `isLive` is whether a run can be opened by its name; `known`
   * describes settings by name.
   */
  constructor(load, isLive, known) {
    Object.assign(this, { load, isLive, known });
    this.chosen = new Map();
    this.table = new Table("All runs");
    this.chart = new Chart({ title: "Runs", height: 260 });
    this.differences = new Table("Settings that differ", { note: "The settings of these runs do not differ." });
    find("runs-table").append(this.table.element);
    find("comparison-chart").append(this.chart.element);
    find("differences-table").append(this.differences.element);
    find("compared-metric").addEventListener("change", () => this.draw());
  }

  update(run, summaries) {
    this.run = run;
    const others = summaries.filter((summary) => summary.run_id !== run.run_id);
    this.chosen.delete(run.run_id);
    setText(find("runs-hint"), others.length ? "Choose runs to compare with the one above." : "There is no other run yet.");
    this.table.element.hidden = summaries.length === 0;
    this.table.update(this.columns(), summaries, (summary) => summary.run_id);
    this.draw();
  }

  columns() {
    const seconds = (row) => row.seconds ?? measureElapsed(row) ?? null;
    return [
      { id: "compare", label: "Compare", sort: null, text: () => "", fill: (cell, row) => this.fillChoice(cell, row) },
      { ...text("name", "Run", { isHeader: true, read: nameOf }), fill: (cell, row) => this.fillName(cell, row) },
      text("status", "State", { text: (row) => STATES[row.status] ?? asText(row.status ?? null), title: (row) => row.reason || "" }),
      column("started", "Started", (value) => formatTime(parseTime(value)), { isNumeric: false }),
      column("rounds", "Rounds", formatCount, { text: (row) => `${formatCount(row.rounds)} of ${formatCount(row.num_rounds)}` }),
      column("seconds", "Duration", formatDuration, { read: seconds }),
      text("best", "Best", { read: (row) => writeBest(row) }),
      text("tags", "Tags", { read: (row) => asList(row.tags).join(", ") || null }),
    ];
  }

  fillChoice(cell, summary) {
    const isShown = summary.run_id === this.run.run_id;
    if (!cell.firstChild) {
      const box = make("input", { type: "checkbox", "aria-label": `Compare with ${nameOf(summary)}` });
      box.addEventListener("change", () => this.choose(summary.run_id, box));
      cell.append(box, make("span", {}, "shown"));
    }
    const [box, shown] = cell.children;
    box.hidden = isShown;
    shown.hidden = !isShown;
    box.checked = this.chosen.has(summary.run_id);
    box.disabled = !box.checked && this.chosen.size >= MOST_COMPARED - 1;
  }

  fillName(cell, summary) {
    if (cell.firstChild) return;
    const name = nameOf(summary);
    const isLinked = this.isLive;
    cell.append(isLinked ? make("a", { href: `#run=${encodeURIComponent(summary.run_id)}` }, name) : make("span", {}, name));
    if (name !== summary.run_id) cell.append(" ", make("small", {}, summary.run_id));
  }

  async choose(id, box) {
    if (!box.checked) {
      this.chosen.delete(id);
    } else {
      const used = new Set([...this.chosen.values()].map((entry) => entry.slot));
      let slot = 1;
      while (used.has(slot)) slot += 1;
      // Reserve the place now: another run may be chosen before this one is loaded.
      this.chosen.set(id, { slot, run: null });
      try {
        this.chosen.get(id).run = await this.load(id);
      } catch (error) {
        this.chosen.delete(id);
        setText(find("runs-hint"), `${id} cannot be read: ${error.message}`);
      }
    }
    this.table.update(this.table.columns, this.table.items, this.table.keyOf);
    this.draw();
  }

  /** Choose runs with documents that are already loaded. */
  chooseAll(runs) {
    runs.slice(0, MOST_COMPARED - 1).forEach((run, index) => this.chosen.set(run.run_id, { slot: index + 1, run }));
    this.table.update(this.table.columns, this.table.items, this.table.keyOf);
    this.draw();
  }

  draw() {
    const others = [...this.chosen.values()].filter((entry) => entry.run !== null);
    find("comparison").hidden = others.length === 0;
    if (!others.length) return;
    const entries = [{ slot: 0, run: this.run }, ...others];
    const runs = entries.map((entry) => entry.run);
    setOptions(find("compared-metric"), listMetrics(...runs));
    const metric = find("compared-metric").value;
    const curves = entries.map(({ slot, run }) => {
      const { kind, ...curve } = comparedCurve(run, metric);
      return { ...curve, key: run.run_id, label: nameOf(run) + kind, slot, weight: slot === 0 ? "main" : "" };
    });
    this.chart.update({ title: `${capitalize(metric || "metrics")} of each run`, series: curves.filter(hasValues) });
    const columns = runs.map((run, index) => ({
      ...text(`run ${run.run_id}`, nameOf(run), { class: "long" }),
      sort: null,
      text: (row) => formatValue(row.values[index]),
    }));
    this.differences.update([text("name", "Setting", { isHeader: true }), ...columns], findDifferences(runs, this.known), (row) => row.name);
  }
}

function writeBest(summary) {
  const best = bestOf(summary);
  return best === null ? null : `${best.metric} ${formatNumber(best.value)} in round ${best.round}`;
}
