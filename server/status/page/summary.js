// The head of the page: name, state and key figures of a run, and what it is doing now.

const STEPS = {
  "waiting for nodes": () => "Waiting for nodes",
  query: () => "Asking a node for the initial model",
  train: (round) => `Training in round ${round}`,
  aggregate: (round) => `Aggregating the updates of round ${round}`,
  evaluate: (round) => `Evaluating the model of round ${round}`,
  checkpoint: (round) => `Writing the checkpoint of round ${round}`,
  idle: () => "Between rounds",
};

function showHead(run, state) {
  setText(find("name"), nameOf(run) || "Waiting for a run");
  const id = run.name && run.run_id !== run.name ? ` · ${run.run_id}` : "";
  setText(find("kind"), `fedmx run${id}`);
  const stopped = run.stopped ? `, ${STOPPED[run.stopped] ?? `stopped early: ${run.stopped}`}` : "";
  setText(find("state"), `${STATES[state] ?? state}${stopped}`);
  setAttribute(find("state"), "data-state", state);
  showText(find("notes"), run.notes);
  const tags = asList(run.tags);
  find("tags").hidden = tags.length === 0;
  find("tags").replaceChildren(...tags.map((tag) => make("li", {}, String(tag))));
  const code = isNumber(run.exit_code) ? ` (exit code ${run.exit_code})` : "";
  showText(find("reason"), run.reason ? `${run.reason}${code}` : "");
  find("progress").hidden = !(run.num_rounds > 0);
  setAttribute(find("bar"), "max", run.num_rounds || 1);
  setAttribute(find("bar"), "value", run.rounds || 0);
}

function showFigures(run, now, roster) {
  const privacy = asObject(run.privacy);
  const remaining = estimateRemaining(run, now);
  const best = bestOf(run);
  const bytes = ["bytes_up", "bytes_down"].map((name) => sum(curveOf(run, name).y));
  const limit = asObject(run.settings).MAX_EPSILON;
  const pairs = [
    ["Round", `${formatCount(run.rounds ?? 0)} of ${formatCount(run.num_rounds)}`],
    ["Elapsed", formatDuration(measureElapsed(run, now)), run.started],
    remaining === null ? null : [endsEarly(run) ? "Remaining, at most" : "Remaining, about", formatDuration(remaining)],
    ...lastMetrics(run),
    best === null ? null : [`Best ${best.metric}`, `${formatNumber(best.value)} (round ${best.round})`],
    roster.length ? ["Nodes ready", countReady(roster)] : ["Nodes", formatCount(asList(run.nodes).length)],
    bytes[0] + bytes[1] > 0 ? ["From nodes / to nodes", bytes.map(formatBytes).join(" / ")] : null,
    isNumber(privacy.epsilon) ? ["Privacy spent", writePrivacy(privacy, limit)] : null,
  ];
  setPairs(find("figures"), pairs.filter((pair) => pair !== null));
}

function lastMetrics(run) {
  return listMetrics(run)
    .slice(0, 2)
    .map((metric) => {
      const { y, kind } = comparedCurve(run, metric);
      return [`${capitalize(metric)}${kind}`, formatNumber(lastOf(y))];
    });
}

const capitalize = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const countReady = (roster) => `${roster.filter((node) => node.state === "ready").length} of ${roster.length}`;

function writePrivacy({ epsilon, delta }, limit) {
  const most = limit > 0 ? ` of at most ${formatShort(limit)}` : "";
  return `ε ${formatShort(epsilon)}${most}, δ ${formatShort(delta)}`;
}

/** Show what the server does, what it waits for, since and until when, and what happens then. */
function showActivity(activity, now) {
  const round = activity.round || 1;
  const write = STEPS[activity.name];
  setText(find("activity"), write ? write(round) : capitalize(String(activity.name ?? "")));
  const wait = asObject(activity.waiting);
  const since = parseTime(activity.since);
  const until = parseTime(wait.until);
  const pairs = [
    since === null ? null : ["Since", `${formatTime(since, now)}, for ${formatDuration(now - since)}`],
    ...describeFields(asObject(wait.fields)),
    asList(wait.gone).length ? ["Not connected", formatList(wait.gone)] : null,
    activity.waiting ? ["Until", writeLimit(until, wait.limit, now)] : null,
    wait.then && until !== null ? ["Then", wait.then] : null,
    wait.hint ? ["What you can do", wait.hint] : null,
  ];
  setPairs(find("wait"), pairs.filter((pair) => pair !== null));
}

function writeLimit(until, limit, now) {
  if (until === null) return "without limit";
  return `${formatTime(until, now)}${limit ? ` (${limit})` : ""}, in ${formatDuration(until - now)}`;
}

/** Describe what a wait is for, beginning with the awaited nodes. */
function describeFields(fields) {
  const { awaited, answered, round, step, ...others } = fields;
  const pairs = [];
  if (Array.isArray(awaited)) {
    const all = isNumber(answered) ? ` of ${count(awaited.length + answered, "node")}` : "";
    pairs.push(["Awaited", `${formatCount(awaited.length)}${all}${awaited.length ? `: ${formatList(awaited)}` : ""}`]);
  } else if (answered !== undefined && answered !== null) {
    pairs.push(["Answered", formatValue(answered)]);
  }
  for (const [name, value] of Object.entries(others)) {
    if (value === null || value === undefined || value === "") continue;
    const text = Array.isArray(value) ? formatList(value.map(String)) : formatValue(value);
    pairs.push([capitalize(name.replaceAll("_", " ")), text]);
  }
  return pairs;
}

/** Show a problem of the connection to the server, if there is one. */
function showConnection(lostSince, state, now) {
  const since = lostSince === null ? "" : formatTime(lostSince, now);
  const text = isOver(state)
    ? `The run is over and its server has ended (at ${since}); this is its last state.`
    : `No connection to the server since ${since}; this is the last state that it sent. Retrying.`;
  showText(find("connection"), lostSince === null ? "" : text);
}
