// Makes plots larger than life and logs go on. Pages are whole without it.
"use strict";

// A number of an axis whose labels lie `step` apart, in few characters: 1.2 M, 3.4e-5.
function short(value, step, largest) {
  if (value === 0) return "0";
  if (largest < 1e-3 || largest >= 1e15) {
    const digits = Math.max(0, Math.floor(Math.log10(Math.abs(value))) - Math.floor(Math.log10(step) + 1e-9));
    return value.toExponential(Math.min(digits, 12)).replace("e+", "e");
  }
  const [unit, word] = [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e4, " k"]].find(([least]) => largest >= least) || [1, ""];
  const size = word === " k" ? 1e3 : unit;
  let digits = 0; // as many as tell one label from the next
  while (digits < 12 && Math.abs((step / size) * 10 ** digits - Math.round((step / size) * 10 ** digits)) > 1e-6) digits++;
  return (value / size).toFixed(digits) + word;
}

// Seconds as people say them: 1 h 20, 4 min 5 s.
function time(seconds) {
  const whole = Math.abs(seconds), sign = seconds < 0 ? "-" : "";
  if (whole < 60) return `${sign}${+whole.toPrecision(3)} s`;
  if (whole < 3600) return `${sign}${Math.floor(whole / 60)} min${whole % 60 ? ` ${Math.round(whole % 60)} s` : ""}`;
  if (whole < 86400) return `${sign}${Math.floor(whole / 3600)} h${whole % 3600 ? ` ${Math.round((whole % 3600) / 60)}` : ""}`;
  return `${sign}${+(whole / 86400).toFixed(1)} d`;
}

function labels(timed) {
  return (plot, splits) => {
    const largest = Math.max(...splits.map(Math.abs)), step = splits.length > 1 ? splits[1] - splits[0] : largest || 1;
    return splits.map((value) => (timed ? time(value) : short(value, step, largest)));
  };
}

function drawn(figure) {
  const data = JSON.parse(figure.dataset.plot);
  const style = getComputedStyle(document.documentElement);
  const dim = style.getPropertyValue("--dim").trim(), line = style.getPropertyValue("--line").trim();
  const colors = [...Array(8).keys()].map((n) => style.getPropertyValue(`--c${n}`).trim());
  const dashes = [[], [8, 4], [2, 4]];
  const tables = data.series.map((s) => {
    const pairs = s.x.map((x, i) => [x, s.y[i]]).filter((p, i, all) => i === 0 || p[0] !== all[i - 1][0]);
    return [pairs.map((p) => p[0]), pairs.map((p) => p[1])];
  });
  const axis = { stroke: dim, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  const place = figure.querySelector(".drawn");
  const timed = /(^|[_/. -])(seconds|secs|sec|s)$/i.test(data.name);
  const options = {
    width: place.clientWidth,
    height: 240,
    scales: { x: { time: false } },
    axes: [
      { ...axis, label: data.axis, labelSize: 20, values: labels(data.axis === "seconds") },
      { ...axis, size: (plot, texts) => 20 + 7 * Math.max(4, ...(texts || []).map((text) => text.length)), values: labels(timed) },
    ],
    series: [
      { label: data.axis },
      ...data.series.map((s) => ({
        label: s.run.slice(0, 24), stroke: colors[s.color % 8], dash: dashes[Math.floor(s.color / 8)], width: 1.5, spanGaps: true,
        points: { show: s.x.length === 1, size: 8, fill: colors[s.color % 8] },
        value: (plot, value) => (value === null ? "–" : timed ? time(value) : short(value, Math.abs(value) / 1e4 || 1, Math.abs(value))),
      })),
    ],
  };
  const words = place.querySelector("svg").getAttribute("aria-label");
  place.textContent = "";
  const plot = new uPlot(options, uPlot.join(tables), place);
  plot.root.setAttribute("role", "img");
  plot.root.setAttribute("aria-label", words);
  new ResizeObserver(() => place.clientWidth && plot.setSize({ width: place.clientWidth, height: 240 })).observe(place);
}

async function follow(log) {
  const state = document.getElementById("live");
  let from = log.dataset.from, over = false;
  while (!over) {
    await new Promise((done) => setTimeout(done, 1000));
    let answer;
    try {
      answer = await fetch(`${log.dataset.tail}&from=${from}`);
    } catch {
      continue; // the server is away; it may come back
    }
    if (!answer.ok) continue;
    const text = await answer.text();
    const below = window.innerHeight + window.scrollY >= document.body.scrollHeight - 80;
    if (text) log.append(text);
    if (text && below) window.scrollTo(0, document.body.scrollHeight);
    from = answer.headers.get("X-Next");
    over = answer.headers.get("X-Over") === "true" && !text;
  }
  state.textContent = "The run has ended.";
}

// What lies in a group that is closed is drawn when it opens.
function draw() {
  for (const figure of document.querySelectorAll("figure.plot:has(.drawn > svg)")) {
    if (figure.offsetParent !== null) drawn(figure);
  }
}

document.addEventListener("toggle", draw, true);

draw();
document.addEventListener("htmx:afterSwap", draw);
const log = document.querySelector("pre[data-tail]");
if (log) follow(log);
