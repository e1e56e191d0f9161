// Numbers to positions: domains, ticks and SVG paths. Nothing here touches the page.

const POINTS_SHOWN = 40;

/** Return ticks at 1, 2 or 5 times a power of ten that cover the numbers, at most about `most` of them. */
function chooseTicks(low, high, most) {
  if (low === high) {
    const pad = low === 0 ? 1 : Math.abs(low) * 0.1;
    return chooseTicks(low - pad, high + pad, most);
  }
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  if (!isNumber(step) || step === 0) return [low, high];
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  const decimals = Math.max(0, -Math.floor(Math.log10(step)));
  return Array.from({ length: last - first + 1 }, (_, index) =>
    decimals <= 20 ? Number(((first + index) * step).toFixed(decimals)) : (first + index) * step
  );
}

/** Return powers of ten that cover positive numbers, with 2 and 5 between if they are few. */
function chooseLogarithmicTicks(low, high, most) {
  const first = Math.floor(Math.log10(low) + 1e-9);
  const last = Math.max(first + 1, Math.ceil(Math.log10(high) - 1e-9));
  const every = Math.ceil((last - first) / most);
  const powers = [];
  for (let power = first; power < last + every; power += every) powers.push(10 ** power);
  if (last - first > 2) return powers;
  return powers.flatMap((power, index) => (index < powers.length - 1 ? [power, power * 2, power * 5] : [power]));
}

/** Return the ticks of whole numbers, such as rounds, inside the domain. */
function chooseWholeTicks(low, high, most) {
  if (high - low < 1) return [low];
  const inside = chooseTicks(low, high, most).filter((tick) => Number.isInteger(tick) && tick >= low && tick <= high);
  return inside[0] === low ? inside : [low, ...inside.filter((tick) => tick - low > (high - low) / most / 2)];
}

/** Return the smallest and the largest finite number of many lists; null if there is none. */
function findRange(lists, isPositive = false) {
  let low = Infinity;
  let high = -Infinity;
  for (const list of lists) {
    for (const value of list) {
      if (!isNumber(value) || (isPositive && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low <= high ? [low, high] : null;
}

/** Return a vertical scale: its ticks, and the function from a value to 0 (bottom) .. 1 (top), or null. */
function makeScale(range, { isLogarithmic = false, isFromZero = false, most = 5 }) {
  let [low, high] = range;
  if (isLogarithmic) {
    const ticks = chooseLogarithmicTicks(low, high, most);
    const [bottom, top] = [Math.log10(ticks[0]), Math.log10(ticks.at(-1))];
    return { ticks, place: (value) => (value > 0 ? (Math.log10(value) - bottom) / (top - bottom) : null) };
  }
  // Curves that come near zero are read against it.
  if (isFromZero || (low > 0 && low < 0.3 * high)) low = Math.min(0, low);
  const ticks = chooseTicks(low, high, most);
  const [bottom, top] = [ticks[0], ticks.at(-1)];
  return { ticks, step: ticks[1] - bottom, place: (value) => (value - bottom) / (top - bottom) };
}

/** Return the path of a curve, which is interrupted where a value is missing. */
function drawLine(points) {
  let path = "";
  let isDown = false;
  for (const point of points) {
    if (point === null) {
      isDown = false;
    } else {
      path += `${isDown ? "L" : "M"}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
      isDown = true;
    }
  }
  return path;
}

/** Return the path of the dots: all points of a short curve; of a long one those that no line reaches. */
function drawDots(points, radius) {
  const isShort = points.filter((point) => point !== null).length <= POINTS_SHOWN;
  let path = "";
  points.forEach((point, index) => {
    if (point === null) return;
    const isAlone = !points[index - 1] && !points[index + 1];
    if (isShort || isAlone) path += drawDot(point, radius);
  });
  return path;
}

function drawDot([x, y], radius) {
  const arc = `a${radius} ${radius} 0 1 0`;
  return `M${(x - radius).toFixed(1)} ${y.toFixed(1)}${arc}${2 * radius} 0${arc}${-2 * radius} 0z`;
}
