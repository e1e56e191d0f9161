// Tables of a run's nodes, sites, rejected updates and settings.

const NODE_STATES = { ready: "ready", loading: "loading data", gone: "not connected", expelled: "expelled" };

class NodeTables {
  constructor() {
    this.nodes = new Table("Nodes", { note: "No node has taken part yet." });
    this.sites = new Table("Totals of each site");
    this.rejections = new Table("Rejected updates", { note: "No update was rejected." });
    find("nodes-table").append(this.nodes.element);
    find("sites-table").append(this.sites.element);
    find("rejections-table").append(this.rejections.element);
  }

  update(run, roster) {
    const rows = joinRoster(asList(run.nodes), roster);
    const all = [...nodeColumns(), ...metricColumns(rows), ...effortColumns()];
    // A column that needs a value is shown only if a row has one.
    const columns = all.filter(({ needs, sort }) => !needs || rows.some((row) => needs(sort(row))));
    this.nodes.setCaption(`Nodes (${formatCount(rows.length)})`);
    this.nodes.update(columns, rows, (row) => row.name);
    const sites = asList(run.sites);
    this.sites.element.hidden = sites.length === 0;
    this.sites.update(siteColumns(), sites, (row) => String(row.site));
    const rejections = asList(run.rejections).map((row, index) => ({ ...row, index }));
    this.rejections.update(rejectionColumns(), rejections.reverse(), (row) => JSON.stringify(row));
  }
}

/** Return a row for each node of the run or of the live roster. */
function joinRoster(nodes, roster) {
  const rows = new Map(roster.map((node) => [node.name, { ...node }]));
  for (const node of nodes) rows.set(node.name, { ...asObject(rows.get(node.name)), ...definedOf(node) });
  return [...rows.values()];
}

const definedOf = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== null));

function column(id, label, format, { read = (row) => row[id], ...others } = {}) {
  const sort = (row) => read(row) ?? null;
  return { id, label, sort, text: (row) => format(sort(row)), isNumeric: true, ...others };
}

const isKnown = (value) => value !== null;
const asText = (value) => (value === null || value === "" ? NOTHING : String(value));
const text = (id, label, others = {}) => column(id, label, asText, { isNumeric: false, ...others });

function nodeColumns() {
  return [
    text("name", "Node", { isHeader: true }),
    text("site", "Site", { needs: isKnown }),
    column("partition", "Partition", formatCount, { needs: isKnown }),
    text("device", "Device", { needs: isKnown }),
    text("state", "State", { needs: isKnown, text: (row) => NODE_STATES[row.state] ?? asText(row.state ?? null) }),
  ];
}

function effortColumns() {
  return [
    column("rounds", "Rounds", formatCount),
    column("examples", "Examples", formatCount),
    column("examples_per_second", "Speed", formatRate, { title: () => "examples per second, each counted in every epoch" }),
    column("seconds", "Training", formatSeconds),
    column("bytes_up", "From node", formatBytes),
    column("bytes_down", "To node", formatBytes),
    column("rejected", "Rejected", formatCount),
    column("missing", "Missing", formatCount),
    column("left_out", "Left out", formatCount, { needs: Boolean }),
  ];
}

/** Return columns of the newest evaluation, or of the training where nothing was evaluated. */
function metricColumns(rows) {
  const kind = rows.some((row) => Object.keys(asObject(row.metrics)).length) ? "metrics" : "train";
  const names = [...new Set(rows.flatMap((row) => Object.keys(asObject(row[kind]))))];
  const label = (name) => capitalize(kind === "train" ? `${name} (training)` : name);
  return names.map((name) =>
    column(`${kind} ${name}`, label(name), formatNumber, { read: (row) => asObject(row[kind])[name] })
  );
}

function siteColumns() {
  return [
    text("site", "Site", { isHeader: true }),
    column("nodes", "Nodes", formatCount),
    column("rounds", "Rounds", formatCount),
    column("examples", "Examples", formatCount),
    column("bytes_up", "From site", formatBytes),
    column("bytes_down", "To site", formatBytes),
    column("rejected", "Rejected", formatCount),
  ];
}

function rejectionColumns() {
  return [
    column("round", "Round", formatCount),
    text("step", "Step"),
    text("name", "Node"),
    text("reason", "Reason", { class: "long" }),
  ];
}

/** The settings of a run: those that differ from their defaults first. */
class SettingTables {
  constructor(known) {
    this.known = known;
    this.changed = new Table("Settings that differ from their defaults", { note: "None. Addresses and folders are not compared." });
    this.others = new Table("Other settings");
    this.versions = new Table("Versions");
    find("changed-settings").append(this.changed.element);
    find("default-settings").append(this.others.element);
    find("versions").append(this.versions.element);
  }

  update(run) {
    const rows = Object.entries(asObject(run.settings)).map(([name, value]) => this.describe(name, value));
    const keyOf = (row) => row.name;
    this.changed.update(settingColumns(true), rows.filter((row) => row.isChanged), keyOf);
    this.others.update(settingColumns(false), rows.filter((row) => !row.isChanged), keyOf);
    const versions = Object.entries(asObject(run.versions)).map(([name, value]) => ({ name, value }));
    this.versions.element.hidden = versions.length === 0;
    this.versions.update([text("name", "Package", { isHeader: true }), valueColumn("value", "Version")], versions, keyOf);
  }

  describe(name, value) {
    const known = Object.hasOwn(this.known, name) ? this.known[name] : {};
    const isChanged = known.is_compared !== false && JSON.stringify(known.default) !== JSON.stringify(value);
    return { name, value, isChanged, default: known.default, meaning: known.meaning ?? "" };
  }
}

const valueColumn = (id, label) => text(id, label, { text: (row) => formatValue(row[id]), class: "long" });

function settingColumns(hasDefault) {
  return [
    text("name", "Setting", { isHeader: true }),
    valueColumn("value", "Value"),
    ...(hasDefault ? [valueColumn("default", "Default")] : []),
    text("meaning", "Meaning", { class: "long" }),
  ];
}
