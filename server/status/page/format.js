// Writes numbers, units and times.

const NOTHING = "–";
const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Write a number with about four digits, whatever its size. */
function formatNumber(value, digits = 4) {
  if (!isNumber(value)) return NOTHING;
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e7 || size < 1e-4)) return formatPower(value, digits);
  if (Number.isInteger(value)) return groupThousands(String(value));
  const decimals = Math.max(0, digits - 1 - Math.max(-1, Math.floor(Math.log10(size))));
  return groupThousands(value.toFixed(Math.min(decimals, 6)));
}

/** Write the label of a tick with the decimals that tell it from its neighbours. */
function formatTick(value, step) {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e7 || size < 1e-4)) return formatPower(value, 3);
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return groupThousands(value.toFixed(Math.min(decimals, 8)));
}

function formatPower(value, digits) {
  const [factor, power] = value.toExponential(digits - 1).split("e");
  const number = Number(power);
  const raised = [...String(Math.abs(number))].map((digit) => SUPERSCRIPTS[Number(digit)]).join("");
  return `${trimZeros(factor)}×10${number < 0 ? "⁻" : ""}${raised}`.replace("-", "−");
}

const trimZeros = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
const formatShort = (value) => trimZeros(formatNumber(value));

function groupThousands(text) {
  const [whole, part] = text.replace("-", "−").split(".");
  // Unlike a comma, a thin space cannot be read as a decimal separator.
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, "\u202f");
  return part === undefined ? grouped : `${grouped}.${part}`;
}

const formatCount = (value) => (isNumber(value) ? groupThousands(String(Math.round(value))) : NOTHING);

function formatBytes(value) {
  if (!isNumber(value)) return NOTHING;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let size = value;
  let unit = 0;
  while (Math.abs(size) >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? size : trimZeros(size.toPrecision(3))} ${units[unit]}`;
}

function formatRate(value) {
  if (!isNumber(value)) return NOTHING;
  return `${value >= 100 ? formatCount(value) : formatNumber(value, 3)} examples/s`;
}

/** Write seconds in readable units: 0.06 s, 12.3 s, 2 min 05 s, 1 h 02 min. */
function formatSeconds(value) {
  if (!isNumber(value)) return NOTHING;
  if (value < 0.0005) return "0 s";
  if (value < 1) return `${Number(value.toPrecision(2))} s`;
  if (value < 60) return `${trimZeros(value.toFixed(1))} s`;
  return formatDuration(value);
}

/** Write whole seconds. */
function formatDuration(value) {
  if (!isNumber(value)) return NOTHING;
  const seconds = Math.max(0, Math.round(value));
  const pad = (number) => String(number).padStart(2, "0");
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${pad(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${pad(Math.floor(seconds / 60) % 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds / 3600) % 24} h`;
}

/** Return the epoch seconds of an ISO time; null if it cannot be parsed. */
function parseTime(text) {
  const milliseconds = typeof text === "string" ? Date.parse(text) : NaN;
  return Number.isNaN(milliseconds) ? null : milliseconds / 1000;
}

/** Write a moment on the reader's clock, with the date unless it is today. */
function formatTime(seconds, now = Date.now() / 1000) {
  if (!isNumber(seconds)) return NOTHING;
  const [date, clock] = formatMoment(seconds);
  return formatMoment(now)[0] === date ? clock : `${date} ${clock}`;
}

function formatMoment(seconds) {
  const moment = new Date(seconds * 1000);
  const pad = (number) => String(number).padStart(2, "0");
  return [
    `${moment.getFullYear()}-${pad(moment.getMonth() + 1)}-${pad(moment.getDate())}`,
    `${pad(moment.getHours())}:${pad(moment.getMinutes())}:${pad(moment.getSeconds())}`,
  ];
}

/** Write any value that JSON can hold, such as a setting's. */
function formatValue(value) {
  if (value === undefined || value === null) return NOTHING;
  if (value === "") return "(empty)";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

const formatList = (names, most = 8) =>
  names.length <= most
    ? names.join(", ")
    : `${names.slice(0, most).join(", ")} and ${names.length - most} more`;

const count = (number, noun) => `${formatCount(number)} ${noun}${number === 1 ? "" : "s"}`;
