// Makes plots larger than life and logs go on. Pages are whole without it.
"use strict";

function drawn(figure) {
  const data = JSON.parse(figure.dataset.plot);
  const style = getComputedStyle(document.documentElement);
  const dim = style.getPropertyValue("--dim").trim(), line = style.getPropertyValue("--line").trim();
  const colors = [...Array(8).keys()].map((n) => style.getPropertyValue(`--c${n}`).trim());
  const tables = data.series.map((s) => {
    const pairs = s.x.map((x, i) => [x, s.y[i]]).filter((p, i, all) => i === 0 || p[0] !== all[i - 1][0]);
    return [pairs.map((p) => p[0]), pairs.map((p) => p[1])];
  });
  const axis = { stroke: dim, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  const place = figure.querySelector(".drawn");
  const options = {
    width: place.clientWidth,
    height: 240,
    scales: { x: { time: false } },
    axes: [{ ...axis, label: data.axis, labelSize: 20 }, { ...axis, size: 60 }],
    series: [
      { label: data.axis },
      ...data.series.map((s) => ({ label: s.run.slice(0, 24), stroke: colors[s.color], width: 1.5, spanGaps: true })),
    ],
  };
  const words = place.querySelector("svg").getAttribute("aria-label");
  place.textContent = "";
  const plot = new uPlot(options, uPlot.join(tables), place);
  plot.root.setAttribute("role", "img");
  plot.root.setAttribute("aria-label", words);
  new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: 240 })).observe(place);
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

function draw() {
  for (const figure of document.querySelectorAll("figure.plot")) drawn(figure);
}

draw();
document.addEventListener("htmx:afterSwap", draw);
const log = document.querySelector("pre[data-tail]");
if (log) follow(log);
