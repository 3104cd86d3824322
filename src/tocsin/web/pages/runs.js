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

const view = { log: false, smooth: 0 };

// The columns of a plot: x once, a column a run; smoothed, and without what a log scale has no place for.
function columns(data) {
  return uPlot.join(data.series.map((s) => {
    const pairs = s.x.map((x, i) => [x, s.y[i]]).filter((p, i, all) => i === 0 || p[0] !== all[i - 1][0]);
    let mean = null;
    const values = pairs.map(([, y]) => (mean = mean === null ? y : view.smooth * mean + (1 - view.smooth) * y));
    return [pairs.map((p) => p[0]), values.map((y) => (view.log && y <= 0 ? null : y))];
  }));
}

function drawn(figure) {
  const data = JSON.parse(figure.dataset.plot);
  const style = getComputedStyle(document.documentElement);
  const dim = style.getPropertyValue("--dim").trim(), line = style.getPropertyValue("--line").trim();
  const colors = [...Array(8).keys()].map((n) => style.getPropertyValue(`--c${n}`).trim());
  const dashes = [[], [8, 4], [2, 4]];
  const axis = { stroke: dim, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  const place = figure.querySelector(".drawn");
  const timed = /(^|[_/. -])(seconds|secs|sec|s)$/i.test(data.name);
  const values = labels(timed);
  const options = {
    width: place.clientWidth,
    height: 240,
    cursor: { sync: { key: data.axis } },
    scales: { x: { time: false }, y: { distr: view.log ? 3 : 1 } },
    axes: [
      { ...axis, label: data.axis, labelSize: 20, values: labels(data.axis === "seconds") },
      {
        ...axis, size: (plot, texts) => 20 + 7 * Math.max(4, ...(texts || []).map((text) => (text || "").length)),
        values: (plot, splits) => (view.log ? splits.map((v) => (v === null ? "" : values(plot, [v])[0])) : values(plot, splits)),
      },
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
  if (figure.plot) figure.plot.destroy();
  else {
    figure.words = place.querySelector("svg").getAttribute("aria-label");
    new ResizeObserver(() => place.clientWidth && figure.plot.setSize({ width: place.clientWidth, height: 240 })).observe(place);
  }
  place.textContent = "";
  figure.plot = new uPlot(options, columns(data), place);
  figure.plot.root.setAttribute("role", "img");
  figure.plot.root.setAttribute("aria-label", figure.words);
}

const made = (tag, fields, ...inside) => {
  const one = Object.assign(document.createElement(tag), fields);
  one.append(...inside);
  return one;
};

// A log scale and smoothing for all plots of the page. Dragging over a plot zooms, a double click shows all of it again.
function tools() {
  const first = document.querySelector("figure.plot");
  if (!first || document.querySelector(".tools")) return;
  const redraw = () => document.querySelectorAll("figure.plot").forEach((figure) => figure.plot && drawn(figure));
  const log = made("input", { type: "checkbox", checked: view.log }), smooth = made("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: view.smooth });
  log.addEventListener("change", () => { view.log = log.checked; redraw(); });
  smooth.addEventListener("input", () => { view.smooth = Number(smooth.value); redraw(); });
  const bar = made("div", { className: "tools" }, made("label", {}, log, " Log scale"), made("label", {}, "Smoothing ", smooth));
  (first.closest("details") || first.closest(".plots")).before(bar);
}

// What a page shows of a run that goes on is taken from the page as it is now; zoom, forms and open groups stay.
function take(page) {
  for (const here of document.querySelectorAll("[data-part]")) {
    const now = page.querySelector(`[data-part="${here.dataset.part}"]`);
    if (!now || here.innerHTML === now.innerHTML || here.contains(document.activeElement)) continue;
    const tail = here.querySelector(".tail"), place = tail && [tail.scrollTop, atEnd(tail)];
    here.replaceChildren(...now.childNodes);
    const fresh = here.querySelector(".tail");
    if (fresh) fresh.scrollTop = !place || place[1] ? fresh.scrollHeight : place[0];
  }
  const figures = [...page.querySelectorAll("#plots figure.plot")], old = [...document.querySelectorAll("#plots figure.plot")];
  const name = (figure) => figure.querySelector("figcaption").textContent;
  if (figures.map(name).join("\n") !== old.map(name).join("\n")) {
    const place = document.getElementById("plots");
    if (!place) return window.location.reload(); // the first metric
    place.replaceChildren(...page.getElementById("plots").childNodes);
    return draw();
  }
  figures.forEach((figure, n) => {
    if (old[n].dataset.plot === figure.dataset.plot) return;
    old[n].dataset.plot = figure.dataset.plot;
    const plot = old[n].plot, zoomed = plot && (plot.scales.x.min > plot.data[0][0] || plot.scales.x.max < plot.data[0].at(-1));
    if (plot) plot.setData(columns(JSON.parse(figure.dataset.plot)), !zoomed);
    if (zoomed) plot.redraw();
  });
}

const atEnd = (one) => one.scrollHeight - one.scrollTop - one.clientHeight < 8;

function moving(head) {
  const source = new EventSource(`/live/run?run=${encodeURIComponent(head.dataset.run)}&mark=${head.dataset.mark}`);
  let asking = false, again = false;
  const ask = async () => {
    again = true;
    if (asking) return;
    asking = true;
    while (again) {
      again = false;
      const answer = await fetch(window.location.href).catch(() => null); // the server is away; it may come back
      if (answer && answer.ok) take(new DOMParser().parseFromString(await answer.text(), "text/html"));
    }
    asking = false;
  };
  source.addEventListener("message", ask);
  source.addEventListener("over", () => { source.close(); ask(); });
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
  tools();
  for (const figure of document.querySelectorAll("figure.plot:has(.drawn > svg)")) {
    if (figure.offsetParent !== null) drawn(figure);
  }
}

document.addEventListener("toggle", draw, true);

draw();
document.addEventListener("htmx:afterSwap", draw);
for (const tail of document.querySelectorAll(".tail")) tail.scrollTop = tail.scrollHeight;
const head = document.querySelector("[data-mark]");
if (head) moving(head);
const log = document.querySelector("pre[data-tail]");
if (log) follow(log);
