// A chart of curves over rounds. Its plot is a slider: the arrow keys and the pointer move a reading line, and the
// legend shows the values there. Each curve is one SVG path, however many rounds it has.

const SLOTS = 8;
const MARGIN = { top: 10, right: 22, bottom: 26 };

/**
 * A curve: `key` identifies it, `slot` chooses colour and dashes, `x` are rounds and `y` values or null.
 * `weight` is "main" or absent. A background is a list of {x, y} without names, drawn as one faint path.
 */
class Chart {
  constructor({ title, format = formatNumber, height = 220, isFromZero = false, isWhole = false }) {
    Object.assign(this, { title, format, height, isFromZero, isWhole });
    this.hidden = new Set();
    this.entries = new Map();
    this.data = { series: [], background: [], mark: null, isLogarithmic: false };
    this.cursor = null;
    this.rounds = [];
    this.width = 0;
    this.isEmpty = true;
    this.build();
  }

  build() {
    this.heading = make("h3", {}, this.title);
    this.note = make("span", { class: "note" });
    this.svg = makeSvg("svg", { "aria-hidden": "true", focusable: "false" });
    this.plot = make("div", { class: "plot", role: "slider", tabindex: "0", "aria-orientation": "horizontal" }, this.svg);
    this.legend = make("ul", { class: "legend", role: "list" });
    this.table = make("div");
    this.details = make("details", { class: "values" }, make("summary", {}, "Values as a table"), this.table);
    const caption = make("figcaption", {}, this.heading, this.note);
    this.element = make("figure", { class: "chart" }, caption, this.plot, this.legend, this.details);
    this.plot.addEventListener("pointermove", (event) => this.pointAt(event));
    this.plot.addEventListener("pointerdown", (event) => this.pointAt(event));
    this.plot.addEventListener("pointerleave", () => this.moveTo(null));
    this.plot.addEventListener("focus", () => this.moveTo(this.cursor ?? this.rounds.length - 1));
    this.plot.addEventListener("blur", () => this.moveTo(null));
    this.plot.addEventListener("keydown", (event) => this.press(event));
    this.details.addEventListener("toggle", () => this.drawTable());
    new ResizeObserver(() => this.plot.clientWidth !== this.width && this.draw()).observe(this.plot);
  }

  /** Draw other data; curves that the reader has hidden stay hidden. */
  update(data) {
    this.data = { series: [], background: [], mark: null, isLogarithmic: false, ...data };
    this.rounds = [...new Set(this.data.series.flatMap((series) => series.x))].sort((a, b) => a - b);
    setText(this.heading, this.data.title ?? this.title);
    this.draw();
  }

  get shown() {
    return this.data.series.filter((series) => !this.hidden.has(series.key));
  }

  draw() {
    const width = this.plot.clientWidth;
    if (width === 0) return;
    this.width = width;
    const lists = [...this.shown, ...this.data.background].map((series) => series.y);
    const positive = findRange(lists, true);
    const isLogarithmic = this.data.isLogarithmic && positive !== null;
    const range = isLogarithmic ? positive : findRange(lists);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${this.height}`);
    this.svg.setAttribute("height", this.height);
    this.isEmpty = range === null || this.rounds.length === 0;
    this.plot.classList.toggle("empty", this.isEmpty);
    if (this.isEmpty) {
      const text = this.data.series.length && !this.shown.length ? "All curves are hidden" : "No values yet";
      this.svg.replaceChildren(makeSvg("text", { x: width / 2, y: this.height / 2, class: "nothing" }, text));
    } else {
      const most = Math.max(2, Math.floor(this.height / 48));
      this.scale = makeScale(range, { isLogarithmic, isFromZero: this.isFromZero, most });
      if (this.isWhole) this.scale.ticks = this.scale.ticks.filter(Number.isInteger);
      this.left = this.measureLeft();
      this.svg.replaceChildren(...this.drawAxes(), ...this.drawCurves());
    }
    this.drawCursor();
    this.drawLegend();
    this.drawTable();
  }

  measureLeft() {
    const longest = Math.max(...this.scale.ticks.map((tick) => this.writeTick(tick).length));
    return Math.max(48, Math.min(96, 14 + longest * 6.6));
  }

  writeTick(tick) {
    if (this.format !== formatNumber) return this.format(tick);
    return this.scale.step ? formatTick(tick, this.scale.step) : formatShort(tick);
  }

  placeX(round) {
    const [first, last] = [this.rounds[0], this.rounds.at(-1)];
    const width = this.width - this.left - MARGIN.right;
    return this.left + (first === last ? 0.5 : (round - first) / (last - first)) * width;
  }

  placeY(value) {
    const share = isNumber(value) ? this.scale.place(value) : null;
    if (share === null) return null;
    return MARGIN.top + (1 - share) * (this.height - MARGIN.top - MARGIN.bottom);
  }

  placePoints({ x, y }) {
    return x.map((round, index) => {
      const height = this.placeY(y[index]);
      return height === null ? null : [this.placeX(round), height];
    });
  }

  drawAxes() {
    const bottom = this.height - MARGIN.bottom;
    const right = this.width - MARGIN.right;
    const lines = this.scale.ticks.map((tick) => {
      const y = this.placeY(tick).toFixed(1);
      return `M${this.left} ${y}H${right}`;
    });
    const values = this.scale.ticks.map((tick) =>
      makeSvg("text", { x: this.left - 8, y: this.placeY(tick) + 4, class: "tick value" }, this.writeTick(tick))
    );
    const most = Math.max(2, Math.floor((right - this.left) / 64));
    const ticks = chooseWholeTicks(this.rounds[0], this.rounds.at(-1), most);
    const rounds = ticks.map((tick) =>
      makeSvg("text", { x: this.placeX(tick), y: bottom + 18, class: "tick" }, formatNumber(tick))
    );
    const marks = ticks.map((tick) => `M${this.placeX(tick).toFixed(1)} ${bottom}v4`);
    return [
      makeSvg("path", { d: lines.join(""), class: "grid" }),
      makeSvg("path", { d: marks.join(""), class: "marks" }),
      ...values,
      makeSvg("text", { x: this.left - 8, y: bottom + 18, class: "tick value" }, "Round"),
      ...rounds,
    ];
  }

  drawCurves() {
    const paths = [];
    if (this.data.background.length) {
      const all = this.data.background.map((one) => drawLine(this.placePoints(one))).join("");
      paths.push(makeSvg("path", { d: all, class: "background" }));
    }
    // The first curve is the main one, so it is drawn last, on top.
    for (const series of [...this.shown].reverse()) {
      const points = this.placePoints(series);
      const style = styleOf(series);
      paths.push(makeSvg("path", { d: drawLine(points), class: `line ${style}`, "data-series": series.key }));
      paths.push(makeSvg("path", { d: drawDots(points, 2.6), class: `dots ${style}` }));
    }
    const mark = this.data.mark;
    if (mark && this.shown.some((series) => series.key === mark.key) && this.placeY(mark.value) !== null) {
      const center = [this.placeX(mark.round), this.placeY(mark.value)];
      paths.push(makeSvg("path", { d: drawDot(center, 6), class: "mark" }));
    }
    this.reading = makeSvg("path", { class: "reading" });
    return [...paths, this.reading];
  }

  pointAt(event) {
    if (this.isEmpty) return;
    const x = event.clientX - this.plot.getBoundingClientRect().left;
    const share = (x - this.left) / (this.width - this.left - MARGIN.right);
    const [first, last] = [this.rounds[0], this.rounds.at(-1)];
    const wanted = first + share * (last - first);
    let nearest = 0;
    this.rounds.forEach((round, index) => {
      if (Math.abs(round - wanted) < Math.abs(this.rounds[nearest] - wanted)) nearest = index;
    });
    this.moveTo(nearest);
  }

  press(event) {
    const last = this.rounds.length - 1;
    const now = this.cursor ?? last;
    const page = Math.max(2, Math.round(this.rounds.length / 10));
    const moves = {
      ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1,
      PageDown: now - page, PageUp: now + page, Home: 0, End: last,
    };
    if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.moveTo(Math.min(last, Math.max(0, moves[event.key])));
  }

  /** Move the reading line to the n-th of the chart's rounds, or away. */
  moveTo(index) {
    this.cursor = index !== null && this.rounds.length ? index : null;
    this.drawCursor();
    this.drawLegend();
  }

  drawCursor() {
    if (this.reading && !this.isEmpty) {
      const place = this.cursor === null ? null : this.placeX(this.rounds[this.cursor]).toFixed(1);
      this.reading.setAttribute("d", place === null ? "" : `M${place} ${MARGIN.top}V${this.height - MARGIN.bottom}`);
    }
    const last = this.rounds.length - 1;
    const round = this.rounds[this.cursor ?? last] ?? 0;
    const values = this.shown.map((series) => `${series.label} ${this.format(valueAt(series, round))}`);
    setAttribute(this.plot, "aria-label", `${this.data.title ?? this.title}, curves over rounds`);
    setAttribute(this.plot, "aria-valuemin", this.rounds[0] ?? 0);
    setAttribute(this.plot, "aria-valuemax", this.rounds[last] ?? 0);
    setAttribute(this.plot, "aria-valuenow", round);
    setAttribute(this.plot, "aria-valuetext", this.isEmpty ? "No values yet" : `Round ${round}: ${values.join(", ")}`);
  }

  drawLegend() {
    const round = this.cursor === null ? null : this.rounds[this.cursor];
    const keys = this.data.series.map((series) => series.key);
    for (const key of this.entries.keys()) if (!keys.includes(key)) this.entries.delete(key);
    setChildren(this.legend, this.data.series.map((series) => this.drawEntry(series, round)));
    const notes = ["last values", this.data.note ?? ""].filter(Boolean).join(" · ");
    setText(this.note, this.isEmpty ? "" : round === null ? notes : `Round ${formatNumber(round)}`);
  }

  drawEntry(series, round) {
    const entry = this.entries.get(series.key) ?? this.addEntry(series);
    setAttribute(entry.swatch, "class", `line ${styleOf(series)}`);
    setText(entry.label, series.label);
    setText(entry.value, this.format(round === null ? lastOf(series.y) : valueAt(series, round)));
    setAttribute(entry.button, "aria-pressed", !this.hidden.has(series.key));
    return entry.item;
  }

  addEntry(series) {
    const swatch = makeSvg("path", { d: "M1 5H27" });
    const image = makeSvg("svg", { width: 28, height: 10, "aria-hidden": "true" }, swatch);
    const label = make("span", { class: "name" });
    const value = make("span", { class: "value" });
    const button = make("button", { type: "button" }, image, label, value);
    button.addEventListener("click", () => this.toggle(series.key));
    const entry = { swatch, label, value, button, item: make("li", {}, button) };
    this.entries.set(series.key, entry);
    return entry;
  }

  toggle(key) {
    if (!this.hidden.delete(key)) this.hidden.add(key);
    this.draw();
  }

  drawTable() {
    if (!this.details.open) return;
    this.values ??= new Table(`Values of ${this.title}`, { isSortable: false });
    if (!this.values.element.isConnected) this.table.append(this.values.element);
    const columns = this.shown.map((series) => ({
      id: series.key,
      label: series.label,
      isNumeric: true,
      text: (round) => this.format(valueAt(series, round)),
    }));
    const first = { id: "", label: "Round", isHeader: true, text: (round) => formatNumber(round) };
    this.values.setCaption(this.data.title ?? this.title);
    this.values.update([first, ...columns], this.rounds, (round) => String(round));
  }
}

function styleOf(series) {
  const dashes = (series.slot + Math.floor(series.slot / SLOTS)) % SLOTS;
  return `colour-${series.slot % SLOTS} dash-${dashes}${series.weight === "main" ? " main" : ""}`;
}

/** Return a curve's value at a round; rounds ascend. */
function valueAt({ x, y }, round) {
  let low = 0;
  let high = x.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[middle] < round) low = middle + 1;
    else high = middle;
  }
  return x[low] === round ? y[low] : null;
}

function lastOf(values) {
  for (let index = values.length - 1; index >= 0; index -= 1) if (isNumber(values[index])) return values[index];
  return null;
}
