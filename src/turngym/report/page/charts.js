// Learning curves as small multiples; hovering or the arrow keys read all of them at one step.

const DASHES = ["", "7 3", "2 3", "9 3 2 3", "4 2", "1 2"];
const FRAME = { width: 360, height: 150, left: 44, right: 10, top: 8, bottom: 20 };

const charts = { hidden: new Set(), width: 5, merged: false, all: [], at: null };

function colourOf(number) {
  return `var(--run${number % 6})`;
}

/** What is drawn: runs, or means over seeds with the runs that are left. */
function seriesOf(head) {
  const runs = head.runs.map((run, number) => ({ name: run.name, number, curves: run.curves, marks: run.evaluations }));
  if (!charts.merged) return runs;
  const used = new Set(head.seeds.flatMap((group) => group.runs));
  const means = head.seeds.map((group) => ({ name: group.name, number: group.runs[0], curves: group.curves, marks: [] }));
  return [...means, ...runs.filter((run) => !used.has(run.number))];
}

function showCurves(head) {
  const view = byId("view-curves");
  const scroll = byId("main").scrollTop;
  const series = seriesOf(head);
  const names = [...new Set(series.flatMap((one) => one.curves.map((curve) => curve.name)))];
  charts.all = names.filter((name) => !name.startsWith("ended ")).map((name) => chartOf(name, [name], series));
  const endings = names.filter((name) => name.startsWith("ended "));
  if (endings.length) charts.all.push(chartOf("episodes by ending", endings, series));
  view.replaceChildren(legendOf(head, series), make("div", { class: "charts" }, charts.all.map((chart) => chart.figure)));
  if (!names.length) view.append(make("p", { class: "empty" }, "No finished step yet."));
  byId("main").scrollTop = scroll;
  readAt(charts.at);
}

function legendOf(head, series) {
  const again = () => showCurves(head);
  const entries = series.map((one) => {
    const line = draw("line", { x1: 0, y1: 5, x2: 28, y2: 5, stroke: colourOf(one.number), "stroke-width": 2, "stroke-dasharray": DASHES[one.number % 6] });
    const toggle = () => { charts.hidden.has(one.name) ? charts.hidden.delete(one.name) : charts.hidden.add(one.name); again(); };
    return make("label", {}, make("input", { type: "checkbox", checked: !charts.hidden.has(one.name), onchange: toggle }), draw("svg", { "aria-hidden": "true" }, line), one.name);
  });
  const smoothing = make("label", { class: "soft" }, "mean of the last ",
    make("input", { type: "range", id: "smoothing", min: 1, max: 30, value: charts.width, "aria-label": "Steps to average", onchange: (event) => { charts.width = Number(event.target.value); again(); byId("smoothing").focus(); } }),
    `${charts.width} step${charts.width > 1 ? "s" : ""}`);
  const seeds = head.seeds.length > 0 && make("label", { class: "soft" }, make("input", { type: "checkbox", checked: charts.merged, onchange: (event) => { charts.merged = event.target.checked; again(); } }), "average over seeds");
  return make("div", { class: "legend" }, entries, smoothing, seeds, make("span", { class: "soft" }, "bands: 95 % intervals over tasks or seeds; dots: held-out tasks"));
}

function smooth(values, width) {
  return values.map((_, index) => {
    const window = values.slice(Math.max(0, index - width + 1), index + 1).filter((value) => value !== null);
    return window.length ? window.reduce((sum, value) => sum + value, 0) / window.length : null;
  });
}

/** One figure with its lines, and a function that shows the values at a step. */
function chartOf(title, names, series) {
  const lines = [];
  for (const one of series) {
    if (charts.hidden.has(one.name)) continue;
    one.curves.filter((curve) => names.includes(curve.name)).forEach((curve, place) => {
      const width = curve.name === "learning rate" ? 1 : charts.width; // a schedule has no noise
      const mean = smooth(curve.y, width);
      const dash = names.length > 1 ? DASHES[place % 6] : DASHES[one.number % 6];
      const label = names.length > 1 ? curve.name.replace("ended ", "") : one.name;
      lines.push({ curve, mean, colour: colourOf(one.number), dash, label, low: smooth(curve.low, width), high: smooth(curve.high, width) });
    });
  }
  const marks = title === "success" || title === "outcome" ? heldOut(series, title) : [];
  const scales = scalesOf(lines, marks, title === "success");
  const svg = draw("svg", { viewBox: `0 0 ${FRAME.width} ${FRAME.height}`, role: "img", tabindex: 0, "aria-label": spoken(title, lines) });
  svg.append(...axes(scales), ...lines.flatMap((line) => marksOfLine(line, scales)), ...marks.flatMap((mark) => errorBar(mark, scales)));
  const cross = draw("line", { class: "cross", y1: FRAME.top, y2: FRAME.height - FRAME.bottom, visibility: "hidden" });
  svg.append(cross);
  const read = make("span", { class: "read" });
  listen(svg, scales, lines);
  const figureElement = make("figure", { class: "chart" }, make("figcaption", {}, make("span", {}, title), read), svg);
  return { figure: figureElement, show: (step) => readLine(step, lines, scales, cross, read) };
}

function heldOut(series, name) {
  return series.filter((one) => !charts.hidden.has(one.name)).flatMap((one) => {
    const sampled = one.marks.filter((mark) => mark.label.endsWith("-1"));
    return sampled.map((mark) => ({ x: mark.step, colour: colourOf(one.number), ...mark[name] }));
  });
}

function scalesOf(lines, marks, share) {
  const steps = [...lines.flatMap((line) => line.curve.x), ...marks.map((mark) => mark.x)];
  const values = lines.flatMap((line) => [...line.curve.y, ...line.low, ...line.high]).concat(marks.flatMap((mark) => [mark.low, mark.high]));
  const sound = values.filter((value) => value !== null && value !== undefined);
  let low = Math.min(...sound), high = Math.max(...sound);
  if (share) { low = 0; high = 1; }
  if (!sound.length || (low === 0 && high === 0)) { low = 0; high = 1; }
  if (low === high) { low -= Math.abs(low) * 0.1 || 0.5; high += Math.abs(high) * 0.1 || 0.5; }
  const ticks = niceTicks(low, high);
  low = Math.min(low, ticks[0]); high = Math.max(high, ticks[ticks.length - 1]);
  const first = Math.min(...steps), last = Math.max(...steps, first + 1);
  const { width, height, left, right, top, bottom } = FRAME;
  return {
    ticks, first, last,
    x: (step) => left + ((step - first) / (last - first)) * (width - left - right),
    y: (value) => height - bottom - ((value - low) / (high - low)) * (height - top - bottom),
  };
}

function niceTicks(low, high) {
  const rough = (high - low) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let value = Math.floor(low / step) * step; value <= high + step * 0.999; value += step) ticks.push(Math.abs(value) < step * 1e-6 ? 0 : Number(value.toPrecision(10)));
  return ticks;
}

function tickText(tick) {
  const text = Math.abs(tick) >= 1e5 || (tick && Math.abs(tick) < 1e-3) ? tick.toExponential() : String(tick);
  return text.replace("-", "\u2212");
}

function axes({ x, y, ticks, first, last }) {
  const { width, height, left, right, bottom } = FRAME;
  const grid = ticks.flatMap((tick) => [
    draw("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
    draw("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, tickText(tick)),
  ]);
  const ends = [first, last].map((step, place) => draw("text", { x: x(step), y: height - bottom + 15, "text-anchor": place ? "end" : "start" }, `${place ? "step " : ""}${step}`));
  return [...grid, ...ends];
}

function pathOf(xs, ys, { x, y }) {
  let pen = "M";
  let text = "";
  xs.forEach((step, index) => {
    if (ys[index] === null || ys[index] === undefined) { pen = "M"; return; }
    text += `${pen}${x(step).toFixed(1)} ${y(ys[index]).toFixed(1)}`;
    pen = "L";
  });
  return text;
}

function marksOfLine({ curve, mean, low, high, colour, dash }, scales) {
  const drawn = [];
  const sound = curve.x.map((_, index) => index).filter((index) => low[index] !== null && low[index] !== undefined && high[index] !== null);
  if (sound.length > 1) {
    const there = sound.map((index) => `${scales.x(curve.x[index]).toFixed(1)} ${scales.y(high[index]).toFixed(1)}`);
    const back = sound.reverse().map((index) => `${scales.x(curve.x[index]).toFixed(1)} ${scales.y(low[index]).toFixed(1)}`);
    drawn.push(draw("path", { class: "band", d: `M${there.join("L")}L${back.join("L")}Z`, fill: colour }));
  }
  if (mean.some((value, index) => value !== curve.y[index])) drawn.push(draw("path", { class: "raw", fill: "none", d: pathOf(curve.x, curve.y, scales), stroke: colour }));
  drawn.push(draw("path", { fill: "none", d: pathOf(curve.x, mean, scales), stroke: colour, "stroke-dasharray": dash }));
  return drawn;
}

function errorBar({ x: step, value, low, high, colour }, { x, y }) {
  const at = x(step);
  return [
    draw("line", { x1: at, x2: at, y1: y(low), y2: y(high), stroke: colour }),
    draw("circle", { cx: at, cy: y(value), r: 3, fill: colour }),
  ];
}

function spoken(title, lines) {
  const parts = lines.map(({ label, mean }) => {
    const sound = mean.filter((value) => value !== null);
    return sound.length ? `${label} from ${figure(sound[0])} to ${figure(sound[sound.length - 1])}` : `${label}: no values`;
  });
  return `${title}: ${parts.join("; ")}. Arrow keys read single steps.`;
}

function listen(svg, scales, lines) {
  const steps = [...new Set(lines.flatMap((line) => line.curve.x))].sort((a, b) => a - b);
  const nearest = (wanted) => steps.reduce((best, step) => (Math.abs(step - wanted) < Math.abs(best - wanted) ? step : best), steps[0]);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const inner = ((event.clientX - box.left) / box.width) * FRAME.width;
    const part = (inner - FRAME.left) / (FRAME.width - FRAME.left - FRAME.right);
    readAt(nearest(scales.first + part * (scales.last - scales.first)));
  });
  svg.addEventListener("pointerleave", () => readAt(null));
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move) return;
    const place = charts.at === null ? steps.length - 1 : steps.indexOf(nearest(charts.at)) + move;
    readAt(steps[Math.min(Math.max(place, 0), steps.length - 1)]);
    event.preventDefault();
  });
}

/** Shows all charts at a step; null shows the last values. */
function readAt(step) {
  charts.at = step;
  for (const chart of charts.all) chart.show(step);
}

function readLine(step, lines, scales, cross, read) {
  cross.setAttribute("visibility", step === null ? "hidden" : "visible");
  if (step !== null) for (const end of ["x1", "x2"]) cross.setAttribute(end, scales.x(step));
  const values = lines.map(({ curve, mean, label }) => {
    const index = step === null ? curve.x.length - 1 : curve.x.indexOf(step);
    return index < 0 ? null : `${lines.length > 1 ? `${label} ` : ""}${figure(mean[index])}`;
  });
  read.textContent = `${step === null ? "" : `step ${step}: `}${values.filter(Boolean).join(" \u00b7 ")}`;
}
