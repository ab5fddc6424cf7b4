// The study's results as charts whose axes can be chosen. props.value: {runs: [{name, label, note,
// group, family, external, seed, values: {key: number}}], axes: [{key, label, unit, better, log}],
// families: {key: label}, parts: {group: title}, features, sweeps: [{title, axis, lines: [{family,
// points: [[x, run]]}]}]}, {empty: a sentence}, {problem: a sentence}, or {} at first.
const { html, svg } = regvq, $ = regvq.finder(element);
const root = $(".rv-study"), tip = $(".rv-card-tip"), plot = $(".rv-plot");
const axis = { x: null, y: null, part: null }, hidden = new Set();
let data = null, pointed = null, drawnWidth = 0; // the width for which the plot was drawn

const many = (n) => regvq.many(n, 0);
function shown(value, of) {
  if (value === undefined) return "–";
  const text = Math.abs(value) >= 1000 ? many(value) : Math.abs(value) >= 100 ? value.toFixed(0)
    : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(of && of.key === "psnr" ? 2 : 3);
  return text + (of && of.unit ? " " + of.unit : "");
}
const axisOf = (key) => data.axes.find((one) => one.key === key);
function chosen() {
  return data.runs.filter((run) => run.group === axis.part && !hidden.has(run.family));
}

// ---------------------------------------------------------------- scales

function scale(values, log, from, to) {
  let low = Math.min(...values), high = Math.max(...values);
  if (log && low <= 0) log = false;
  const f = log ? Math.log : (v) => v, back = log ? Math.exp : (v) => v;
  let a = f(low), b = f(high);
  if (b - a < 1e-9) { a -= Math.abs(a) * 0.05 + 1e-6; b += Math.abs(b) * 0.05 + 1e-6; }
  const pad = 0.08 * (b - a);
  a -= pad; b += pad;
  const at = (v) => from + ((f(v) - a) / (b - a)) * (to - from);
  const room = Math.abs(to - from);
  // Below a factor of eight, even steps are clearer than powers of ten.
  const ticks = log && b - a > Math.log(8) ? powers(back(a), back(b)) : steps(back(a), back(b), room);
  return { at, ticks };
}
function steps(a, b, room) {
  const raw = (b - a) / Math.max(3, Math.round(room / (room > 460 ? 90 : 55))), power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw), found = [];
  for (let v = Math.ceil(a / step) * step; v <= b + 1e-9; v += step) found.push(Number(v.toPrecision(12)));
  return found;
}
function powers(a, b) {
  for (const tens of [[1], [1, 3], [1, 2, 5]]) {
    const found = [];
    for (let p = Math.floor(Math.log10(a)); p <= Math.log10(b); p++) {
      for (const t of tens) if (t * 10 ** p >= a && t * 10 ** p <= b) found.push(t * 10 ** p);
    }
    if (found.length > 2 || tens.length === 3) return found;
  }
}
function tick(value) {
  return value >= 1000 ? many(value) : String(Number(value.toPrecision(4)));
}

// ---------------------------------------------------------------- marks and their card

function mark(run, x, y, size) {
  const group = svg("g", { class: "rv-point rv-f-" + run.family + (run.external ? " rv-external" : ""),
    transform: "translate(" + x + "," + y + ")", tabindex: 0, role: "img" });
  group.dataset.run = run.name;
  const r = size || 6;
  group.append(svg("circle", { r: r + 8, class: "rv-reach" }));
  if (run.family === "vq") group.append(svg("rect", { x: -r, y: -r, width: 2 * r, height: 2 * r, rx: 1.5 }));
  else if (run.family === "nsvq") group.append(svg("path", { d: "M0 " + -1.25 * r + "L" + 1.2 * r + " " + 0.9 * r + "H" + -1.2 * r + "Z" }));
  else if (run.family === "simvq") group.append(svg("path", { d: "M0 " + -1.3 * r + "L" + 1.3 * r + " 0L0 " + 1.3 * r + "L" + -1.3 * r + " 0Z" }));
  else group.append(svg("circle", { r: run.family === "regvq" ? 1.12 * r : r }));
  group.setAttribute("aria-label", run.label + ": " + data.axes
    .filter((one) => run.values[one.key] !== undefined)
    .map((one) => one.label + " " + shown(run.values[one.key], one)).join(", "));
  return group;
}
function showCard(name, box) {
  pointed = name;
  element.querySelectorAll("[data-run]").forEach((node) => {
    node.classList.toggle("rv-lit", name !== null && node.dataset.run === name);
  });
  root.classList.toggle("rv-one", name !== null);
  const run = name === null ? null : data.runs.find((one) => one.name === name);
  if (!run) { tip.hidden = true; return; }
  const list = html("dl");
  for (const one of data.axes) {
    if (run.values[one.key] === undefined) continue;
    const line = html("div");
    if (one.key === axis.x || one.key === axis.y) line.className = "rv-now";
    line.append(html("dt", "", one.label), html("dd", "", shown(run.values[one.key], one)));
    list.append(line);
  }
  const parts = [html("b", "rv-f-" + run.family, run.label)];
  if (run.note) parts.push(html("p", "rv-note", run.note));
  tip.replaceChildren(...parts, list);
  tip.hidden = false;
  const frame = $(".rv-study-body").getBoundingClientRect();
  const width = tip.offsetWidth, height = tip.offsetHeight;
  let x = box.right - frame.left + 12;
  if (x + width > frame.width) x = Math.max(0, box.left - frame.left - width - 12);
  const y = Math.min(Math.max(0, box.top - frame.top - height / 3), Math.max(0, frame.height - height));
  tip.style.left = x + "px";
  tip.style.top = y + "px";
}
for (const kind of ["pointerover", "focusin"]) {
  $(".rv-study-body").addEventListener(kind, (event) => {
    const node = event.target.closest("[data-run]");
    if (node) showCard(node.dataset.run, node.getBoundingClientRect());
    else if (kind === "pointerover" && pointed !== null) showCard(null);
  });
}
$(".rv-study-body").addEventListener("pointerleave", () => data && showCard(null));
element.addEventListener("keydown", (event) => { if (event.key === "Escape" && data) showCard(null); });

// ---------------------------------------------------------------- charts

function scatter() {
  drawnWidth = plot.clientWidth;
  const width = Math.max(280, drawnWidth), height = Math.max(300, Math.min(430, width * 0.62));
  const X = axisOf(axis.x), Y = axisOf(axis.y);
  const runs = chosen().filter((run) => run.values[X.key] !== undefined && run.values[Y.key] !== undefined);
  const picture = svg("svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "group",
    "aria-label": Y.label + " against " + X.label + ", " + runs.length + " runs" });
  const left = 58, right = 18, top = 26, bottom = 46;
  if (!runs.length) {
    picture.append(svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle", class: "rv-axis-name" },
      "No run of this group has both figures."));
    plot.replaceChildren(picture);
    return;
  }
  const sx = scale(runs.map((run) => run.values[X.key]), X.log, left, width - right);
  const sy = scale(runs.map((run) => run.values[Y.key]), Y.log, height - bottom, top);
  for (const value of sx.ticks) {
    picture.append(svg("line", { x1: sx.at(value), x2: sx.at(value), y1: top, y2: height - bottom, class: "rv-grid-line" }),
      svg("text", { x: sx.at(value), y: height - bottom + 17, "text-anchor": "middle", class: "rv-tick" }, tick(value)));
  }
  for (const value of sy.ticks) {
    picture.append(svg("line", { x1: left, x2: width - right, y1: sy.at(value), y2: sy.at(value), class: "rv-grid-line" }),
      svg("text", { x: left - 8, y: sy.at(value) + 4, "text-anchor": "end", class: "rv-tick" }, tick(value)));
  }
  const way = (one, more, less) => one.better > 0 ? more : one.better < 0 ? less : "";
  const name = (one) => one.label + (one.unit ? ", " + one.unit : "");
  picture.append(
    svg("text", { x: width - right, y: height - 10, "text-anchor": "end", class: "rv-axis-name" }, name(X) + way(X, "  (better →)", "  (← better)")),
    svg("text", { x: 4, y: 14, class: "rv-axis-name" }, name(Y) + way(Y, "  (better ↑)", "  (better ↓)")));
  const taken = runs.map((run) => {
    const x = sx.at(run.values[X.key]), y = sy.at(run.values[Y.key]);
    return { x: x - 9, y: y - 9, w: 18, h: 18 };
  });
  const labels = svg("g", { class: "rv-labels", "aria-hidden": "true" });
  const marks = runs.map((run, i) => {
    const x = taken[i].x + 9, y = taken[i].y + 9, w = run.label.length * 7.4 + 6;
    // A label is placed where it covers nothing; without such a place, pointing shows it.
    const place = [[x + 11, y - 8], [x - 11 - w, y - 8], [x - w / 2, y - 27], [x - w / 2, y + 10]]
      .map(([px, py]) => ({ x: px, y: py, w, h: 16 }))
      .find((box) => box.x > left && box.x + box.w < width && box.y > 16 && box.y + box.h < height - bottom
        && !taken.some((other, j) => j !== i && box.x < other.x + other.w && other.x < box.x + box.w
          && box.y < other.y + other.h && other.y < box.y + box.h));
    if (place) {
      taken.push(place);
      const text = svg("text", { x: place.x + 2, y: place.y + 12, class: "rv-label" }, run.label);
      text.dataset.run = run.name;
      labels.append(text);
    }
    return mark(run, x, y);
  });
  picture.append(labels, ...marks);
  plot.replaceChildren(picture);
}

function ranks() {
  const Y = axisOf(axis.y);
  const runs = chosen().filter((run) => run.values[Y.key] !== undefined)
    .sort((a, b) => (a.values[Y.key] - b.values[Y.key]) * (Y.better > 0 ? -1 : 1));
  $(".rv-ranks figcaption").textContent = Y.label + (Y.better ? ", best first" : "");
  const values = runs.map((run) => run.values[Y.key]), s = values.length ? scale(values, Y.log, 0, 100) : null;
  $(".rv-ranks ol").replaceChildren(...runs.map((run) => {
    const line = html("li", "rv-f-" + run.family + (run.external ? " rv-external" : ""));
    line.dataset.run = run.name;
    const track = html("i"), dot = html("u");
    track.setAttribute("aria-hidden", "true");
    dot.style.left = s.at(run.values[Y.key]) + "%";
    track.append(dot);
    const label = html("span", "", run.label);
    label.title = run.label;
    line.append(label, track, html("b", "", shown(run.values[Y.key], Y)));
    return line;
  }));
}

function sweeps() {
  const Y = axisOf(axis.y), runs = new Map(data.runs.map((run) => [run.name, run]));
  $(".rv-sweeps").replaceChildren(...data.sweeps.map((sweep) => {
    const figure = html("figure", "rv-study-sweep");
    figure.append(html("figcaption", "", sweep.title));
    const lines = sweep.lines.map((line) => ({ ...line, points: line.points
      .map(([x, name]) => ({ x, run: runs.get(name) }))
      .filter((point) => point.run && point.run.values[Y.key] !== undefined) }))
      .filter((line) => line.points.length > 1 && !hidden.has(line.family));
    if (!lines.length) { figure.append(html("p", "rv-note", "No figures for this axis.")); return figure; }
    const width = 300, height = 190, left = 48, right = 14, top = 14, bottom = 34;
    const all = lines.flatMap((line) => line.points), xs = all.map((point) => point.x);
    const wide = Math.min(...xs) > 0 && Math.max(...xs) / Math.min(...xs) >= 8;
    const sx = scale(xs, wide, left, width - right);
    const sy = scale(all.map((point) => point.run.values[Y.key]), Y.log, height - bottom, top);
    const picture = svg("svg", { viewBox: "0 0 " + width + " " + height, role: "group", "aria-label": sweep.title });
    for (const value of sy.ticks.slice(0, 6)) {
      picture.append(svg("line", { x1: left, x2: width - right, y1: sy.at(value), y2: sy.at(value), class: "rv-grid-line" }),
        svg("text", { x: left - 6, y: sy.at(value) + 4, "text-anchor": "end", class: "rv-tick" }, tick(value)));
    }
    let last = -Infinity;
    for (const value of [...new Set(xs)].sort((p, q) => p - q)) {
      if (sx.at(value) - last < 24) continue;
      last = sx.at(value);
      picture.append(svg("text", { x: sx.at(value), y: height - bottom + 16, "text-anchor": "middle", class: "rv-tick" }, tick(value)));
    }
    picture.append(svg("text", { x: width - right, y: height - 3, "text-anchor": "end", class: "rv-axis-name" }, sweep.axis));
    for (const line of lines) {
      const at = (point) => sx.at(point.x) + " " + sy.at(point.run.values[Y.key]);
      picture.append(svg("path", { d: "M" + line.points.map(at).join("L"), class: "rv-line rv-f-" + line.family }));
    }
    for (const line of lines) {
      for (const point of line.points) {
        picture.append(mark({ ...point.run, family: line.family }, sx.at(point.x), sy.at(point.run.values[Y.key]), 4.5));
      }
    }
    figure.append(picture);
    return figure;
  }));
}

function table() {
  if (!$(".rv-study-table").open) return; // a thousand cells that few people open
  const runs = chosen();
  $(".rv-study-table thead tr").replaceChildren(html("th", "", "Run"), ...data.axes.map((one) =>
    html("th", "", one.label + (one.unit ? ", " + one.unit : ""))));
  $(".rv-study-table tbody").replaceChildren(...runs.map((run) => {
    const line = html("tr"), head = html("th", "", "");
    head.scope = "row";
    head.append(html("b", "", run.label));
    line.append(head, ...data.axes.map((one) => html("td", "", shown(run.values[one.key]))));
    return line;
  }));
}

function draw() {
  if (!data) return;
  scatter();
  ranks();
  sweeps();
  table();
  root.dataset.x = axis.x;
  root.dataset.y = axis.y;
  root.dataset.part = axis.part;
  if (pointed !== null) showCard(null);
}

// ---------------------------------------------------------------- choices and changes

function options(select, pairs, value) {
  select.replaceChildren(...pairs.map(([key, label]) => {
    const option = html("option", "", label);
    option.value = key;
    return option;
  }));
  select.value = value;
}
element.querySelectorAll("[data-axis]").forEach((select) => {
  select.addEventListener("change", () => { axis[select.dataset.axis] = select.value; draw(); });
});
$(".rv-families").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (!hidden.delete(button.dataset.family)) hidden.add(button.dataset.family);
  button.setAttribute("aria-pressed", !hidden.has(button.dataset.family));
  draw();
});

function update() {
  const value = props.value || {};
  if (!value.runs) {
    data = null;
    root.dataset.state = value.problem ? "problem" : value.empty ? "empty" : "busy";
    $(".rv-study-none p").textContent = value.problem
      || value.empty || "";
    return;
  }
  data = value;
  const keys = data.axes.map((one) => one.key);
  const parts = [...new Set(data.runs.map((run) => run.group))];
  if (!keys.includes(axis.x)) axis.x = keys.includes("perplexity") ? "perplexity" : keys[0];
  if (!keys.includes(axis.y)) axis.y = keys.includes("feature_distance") ? "feature_distance" : keys.includes("psnr") ? "psnr" : keys[keys.length - 1];
  if (!parts.includes(axis.part)) axis.part = parts.includes("main") ? "main" : parts[0];
  const axes = data.axes.map((one) => [one.key, one.label]);
  options($("[data-axis=x]"), axes, axis.x);
  options($("[data-axis=y]"), axes, axis.y);
  options($("[data-axis=part]"), parts.map((part) => [part, (data.parts || {})[part] || part]), axis.part);
  const families = [...new Set(data.runs.map((run) => run.family))];
  $(".rv-families").replaceChildren(...Object.keys(data.families).filter((key) => families.includes(key)).map((key) => {
    const button = html("button", "rv-f-" + key);
    button.type = "button";
    button.dataset.family = key;
    button.setAttribute("aria-pressed", !hidden.has(key));
    button.append(html("i"), data.families[key]);
    return button;
  }));
  $(".rv-features").textContent = data.features ? "Distances are measured on " + data.features + "." : "";
  root.dataset.state = "ready";
  draw();
}

// The pictures above have precedence: the charts are drawn when they are visible and the browser is idle.
const idle = window.requestIdleCallback || ((act) => setTimeout(act, 300));
const soon = () => idle(update, { timeout: 3000 });
let near = false;
new IntersectionObserver((found, observer) => {
  if (near || !found.some((one) => one.isIntersecting)) return;
  near = true;
  observer.disconnect();
  soon();
}, { rootMargin: "200px" }).observe(root);
$(".rv-study-table").addEventListener("toggle", () => data && table());
regvq.onResize(plot, () => data && plot.clientWidth !== drawnWidth && scatter());
watch("value", () => { if (near) soon(); });
