// Keeps the page up to date: a report contains all of its data, the live page polls the server.

const POLL_MS = 1000;
const HIDDEN_POLL_MS = 15000;
const SLOWEST_POLL_MS = 15000;

class Page {
  constructor() {
    const data = JSON.parse(find("data").textContent);
    this.report = data.run ?? null;
    this.others = asList(data.others);
    this.status = {};
    this.text = "";
    this.stored = null;
    this.lostSince = null;
    this.failures = 0;
    this.skew = 0;
    this.announced = null;
    this.metrics = new MetricCurves();
    this.course = new CourseCurves();
    this.nodes = new NodeTables();
    this.settings = new SettingTables(data.settings);
    this.comparison = new Comparison((id) => this.load(id), this.report === null, data.settings);
  }

  start() {
    if (this.report !== null) {
      this.show();
      this.comparison.chooseAll(this.others);
      return;
    }
    window.addEventListener("hashchange", () => this.open());
    document.addEventListener("visibilitychange", () => document.hidden || this.poll());
    window.setInterval(() => this.tick(), POLL_MS);
    this.poll();
    this.open();
  }

  get now() {
    return Date.now() / 1000 + this.skew;
  }

  /** Return the run that is shown. */
  get run() {
    return this.report ?? this.stored ?? asObject(this.status.run);
  }

  get isStored() {
    return this.report !== null || this.stored !== null;
  }

  get state() {
    const live = this.status.state;
    return this.isStored || !live ? this.run.status ?? "waiting" : live;
  }

  async load(id) {
    const found = this.others.find((run) => run.run_id === id);
    return found ?? fetchJson(`runs/${encodeURIComponent(id)}.json`);
  }

  /** Show the run that the address names, such as #run=ID, or else the current one. */
  async open() {
    const id = new URLSearchParams(window.location.hash.slice(1)).get("run");
    if (!id && this.stored === null) return;
    try {
      this.stored = id ? await this.load(id) : null;
    } catch (error) {
      showText(find("connection"), `${id} cannot be read: ${error.message}`);
      return;
    }
    this.show();
    window.scrollTo(0, 0);
  }

  async poll() {
    window.clearTimeout(this.timer);
    if (this.isPolling) return;
    this.isPolling = true;
    try {
      const text = await fetchText("status.json");
      this.failures = 0;
      this.lostSince = null;
      this.receive(text);
    } catch {
      this.failures += 1;
      this.lostSince ??= this.now;
    }
    this.isPolling = false;
    const wait = Math.min(SLOWEST_POLL_MS, POLL_MS * 2 ** Math.min(4, this.failures));
    this.timer = window.setTimeout(() => this.poll(), document.hidden ? HIDDEN_POLL_MS : wait);
    this.tick();
  }

  receive(text) {
    // An answer in which only the time differs changes nothing.
    const bare = text.replace(/"now":\s*"[^"]*"/, "");
    const now = parseTime((/"now":\s*"([^"]*)"/.exec(text) ?? [])[1]);
    if (now !== null) this.skew = now - Date.now() / 1000;
    if (bare === this.text) return;
    this.status = asObject(JSON.parse(text));
    this.text = bare;
    this.announce();
    // A stored run stays as it is, but the list of runs may have become longer.
    if (this.stored === null) this.show();
    else this.comparison.update(this.run, this.summaries);
  }

  get summaries() {
    if (this.report !== null) return this.others.length ? [this.report, ...this.others] : [];
    const run = asObject(this.status.run);
    // The list of runs is updated less often than the current run.
    const live = { status: this.status.state, rounds: run.rounds, best: run.best, seconds: null, started: run.started };
    return asList(this.status.runs).map((one) => (one.run_id === run.run_id ? { ...one, ...live } : one));
  }

  /** The nodes that are or were connected. After the end of the run, their states do not matter: all leave. */
  get roster() {
    const nodes = asList(this.status.nodes);
    return isOver(this.status.state) ? nodes.map((node) => ({ ...node, state: null })) : nodes;
  }

  show() {
    const run = this.run;
    const roster = this.isStored ? [] : this.roster;
    find("stored").hidden = this.stored === null;
    this.tick();
    showHead(run, this.state);
    this.metrics.update(run);
    this.nodes.update(run, roster);
    this.course.update(run);
    this.comparison.update(run, this.summaries);
    this.settings.update(run);
    find("runs").hidden = this.report !== null && this.others.length === 0;
    const version = this.status.fedmx ?? asObject(run.versions).fedmx ?? "";
    setText(find("footer"), `fedmx ${version}${this.report === null ? "" : `, report of run ${run.run_id}`}`);
    const round = run.num_rounds ? `${run.rounds ?? 0}/${run.num_rounds} · ` : "";
    document.title = `${isOver(this.state) ? STATES[this.state] : round + STATES[this.state]} · ${nameOf(run)} · fedmx`;
  }

  /** Update what depends on the time only. */
  tick() {
    const isLive = !this.isStored && this.status.state !== undefined;
    // After the connection is lost, times stop.
    const now = this.lostSince ?? this.now;
    const roster = isLive && !isOver(this.state) ? this.roster : [];
    if (this.report !== null || this.stored !== null || isLive) showFigures(this.run, this.report ? undefined : now, roster);
    const isActive = isLive && !isOver(this.state) && this.status.activity;
    find("now").hidden = !isActive;
    if (isActive) showActivity(this.status.activity, now);
    if (this.report === null) showConnection(this.lostSince, this.status.state, this.now);
  }

  /** Announce finished rounds and new states, and nothing else, to screen readers. */
  announce() {
    const run = asObject(this.status.run);
    const before = this.announced;
    this.announced = { rounds: run.rounds ?? 0, state: this.status.state };
    if (before === null) return;
    if (this.announced.state !== before.state) {
      setText(find("announcement"), `The run's state: ${STATES[this.status.state] ?? this.status.state}.`);
    } else if (this.announced.rounds > before.rounds) {
      setText(find("announcement"), describeRound(run));
    }
  }
}

async function fetchText(path) {
  const answer = await fetch(path, { cache: "no-cache", credentials: "same-origin" });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return answer.text();
}

const fetchJson = async (path) => JSON.parse(await fetchText(path));

new Page().start();
