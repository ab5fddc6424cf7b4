// One chart: a Plotly figure with its tools. props.value: {figure: what plotly.js draws, in the light
// colors, as JSON text; note, more: points that are still missing, listens: the events that the server
// handles}, {tile: {code, source}} for the tip, {none: a sentence} without a chart, or {} at first. Of a map also
// place: a name of its layout, whose zoom stays; exact: true for the picture of a window; progress.
// Events: pick {index, x, y, name}, view {x, y, width, height}, select {polygon, and those of view} or
// without a polygon, tile {code}, open {name}, more {}. layout.meta: {columns of customdata, keys: "map"
// for keys that move in the plane, about, window, whole, pixels, space, gallery, linked}. Its
// parts run before it: app/ui/plot.py.
const { html, many } = regvq, $ = regvq.finder(element);
const root = $(".rv-figure"), plot = $(".rv-figure-plot"), tip = $(".rv-tip"), ring = $(".rv-figure-ring");
const coarse = window.matchMedia("(pointer: coarse)").matches;
const still = window.matchMedia("(prefers-reduced-motion: reduce)");
const tiles = new Map();
const of = {};
let Plotly = null; // the script that has drawn the chart
let hidden = new Set(); // the classes of a map that its legend hides
let value = {}, drawn = null, at = null, hovering = -1, resting = 0, asking = 0, busy = false, again = false, turns = 0;

// ---------------------------------------------------------------- figures

const KINDS = { f8: Float64Array, f4: Float32Array, i4: Int32Array, i2: Int16Array, i1: Int8Array,
  u4: Uint32Array, u2: Uint16Array, u1: Uint8Array };
function decoded(one) {
  const flat = regvq.unpack(one.bdata, KINDS[one.dtype]);
  const shape = one.shape ? String(one.shape).split(",").map(Number) : [flat.length];
  if (shape.length === 1) return flat;
  return Array.from({ length: shape[0] }, (_, row) => flat.subarray(row * shape[1], (row + 1) * shape[1]));
}
// The figure in the colors of the current theme, with its arrays decoded.
function prepared(one, pairs) {
  if (typeof one === "string") return pairs[one] || one;
  if (Array.isArray(one)) return one.length > 500 ? one : one.map((each) => prepared(each, pairs));
  if (!one || typeof one !== "object") return one;
  if (one.bdata !== undefined) return decoded(one);
  return Object.fromEntries(Object.entries(one).map(([name, each]) => [name, prepared(each, pairs)]));
}
const meta = () => (drawn && drawn.layout.meta) || {};
const isMap = () => meta().keys === "map";
const onPlate = () => Boolean(isMap() || meta().space || meta().gallery);
const marks = () => drawn ? drawn.data.findIndex((one) => one.name === "codes" && one.x && one.x.length) : -1;

function config() {
  const map = isMap(), space = meta().space;
  const all = { name: "whole", title: "Show all codes", icon: Plotly.Icons.home, click: whole };
  const buttons = map ? [["pan2d", "select2d", "lasso2d"], ["zoomIn2d", "zoomOut2d", all]]
    : space ? [["orbitRotation", "pan3d", "resetCameraDefault3d"]] : [["zoom2d", "pan2d", "resetScale2d"]];
  // In space, Plotly draws twice as many pixels a side as the screen has, which a processor has to fill.
  return { plotGlPixelRatio: space && regvq.software() ? 1 : 2, displaylogo: false, responsive: false, scrollZoom: space, doubleClick: map ? false : "reset+autosize",
    displayModeBar: map || space ? true : coarse ? false : "hover", modeBarButtons: buttons };
}

const kindNeeded = () => value.figure.layout.meta?.space ? "space" : "plane";
async function draw() {
  if (busy) { again = true; return; }
  if (!value.figure || !plot.clientWidth || !near) return;
  busy = true;
  try {
    let kind, script;
    do {
      kind = kindNeeded();
      script = await regvq.plotly(kind); // meanwhile, another chart may have arrived
      if (!value.figure) return;
    } while (kind !== kindNeeded());
    if (Plotly && Plotly !== script) { Plotly.purge(plot); drawn = null; }
    Plotly = script;
    const dark = document.body.classList.contains("dark");
    const next = prepared(value.figure, dark ? regvq.darkPairs : {});
    const before = drawn, same = before && value.place === of.place;
    drawn = next;
    const away = next.data.filter((one) => one.visible === "legendonly").map((one) => one.name);
    if (of.colored !== value.of + " " + meta().color) hidden = new Set(away);
    of.colored = value.of + " " + meta().color;
    next.layout.autosize = true;
    plot.style.height = height(next.layout) + "px";
    if (coarse && !isMap()) next.layout.dragmode = false;
    else if (before && before.layout.meta.keys === "map" && isMap()) {
      next.layout.dragmode = plot._fullLayout.dragmode;
      if (same) {
        const [x, y] = axes();
        next.layout.xaxis.range = [...x.range];
        next.layout.yaxis.range = [...y.range];
        if (value.chosen !== false) next.layout.selections = plot.layout.selections;
      }
    }
    // The places of labels are those of a wide chart; pointing at a mark shows its label anywhere.
    if (plot.clientWidth < 560) for (const one of next.data) if (one.meta?.runs && one.text) one.mode = "markers";
    if (meta().space) { fewer(next); next.layout.uirevision = value.place; }
    plot.classList.toggle("rv-dark-plate", onPlate());
    const from = before && isMap() && before.layout.meta.keys === "map" && !same && of.before === value.of && departures(before);
    of.words = value.words;
    of.place = value.place;
    of.before = value.of;
    await Plotly.react(plot, next.data, next.layout, config());
    if (!before) listen();
    if (from) await travel(from);
    if (picked >= 0) mark(picked);
    plot.setAttribute("aria-label", next.layout.meta && next.layout.meta.about ? next.layout.meta.about
      + (isMap() ? ". Arrow keys move from code to code, Enter selects a code, plus and minus zoom, 0 shows all, Escape clears the selection."
        : ". Arrow keys move along the figures.") : "Chart");
    Object.assign(root.dataset, { state: value.more ? "filling" : "ready", drawn: ++turns, traces: next.data.length,
      points: next.data.reduce((sum, one) => sum + (one.x && one.meta?.table !== false ? one.x.length : 0), 0) });
    for (const name of ["codes", "inside", "layout", "color", "marks", "chosen", "method", "view", "order"]) {
      if (meta()[name] === undefined || meta()[name] === null) delete root.dataset[name];
      else root.dataset[name] = meta()[name];
    }
    if (!$(".rv-figure-table").hidden) table();
    markRuns();
    // An answer may be older than the last click on the legend; a map of tiles has no legend.
    const classes = next.data.filter((one) => one.showlegend).map((one) => one.name);
    if (classes.some((name) => hidden.has(name) !== away.includes(name))) ask("view", view());
    else sharpen();
  } finally {
    busy = false;
  }
  if (again) { again = false; draw(); }
}
function height(layout) {
  const wanted = layout.height || 300;
  delete layout.height;
  if (meta().gallery) return Math.min(wanted, Math.max(300, (wanted / 460) * 0.62 * plot.clientWidth));
  return onPlate() ? Math.min(Math.max(320, 0.62 * window.innerHeight), wanted, Math.max(320, 1.05 * plot.clientWidth)) : wanted;
}
// Without a GPU, a browser turns 1,024 marks in space at 13 frames per second, and 4,096 at 5.
function fewer(figure) {
  const trace = figure.data[0], most = 1024;
  if (!regvq.software() || trace.x.length <= most) return;
  for (const name of ["x", "y", "z", "customdata"]) trace[name] = trace[name].slice(0, most);
  trace.marker = { ...trace.marker, color: trace.marker.color.slice(0, most) };
  figure.layout.meta.inside = most;
  note(value.note + " This browser has no graphics processor, so the " + many(most) + " codes used most are shown.");
}
function note(text) { $(".rv-figure-note").textContent = text || ""; }

// ---------------------------------------------------------------- the window of a map

const axes = () => [plot._fullLayout.xaxis, plot._fullLayout.yaxis];
function view() {
  const [x, y] = axes(), scale = Math.min(2, window.devicePixelRatio || 1);
  return { x: [...x.range], y: [...y.range], width: Math.round(x._length * scale), height: Math.round(y._length * scale),
    hidden: [...hidden] };
}
function ask(name, detail = {}) {
  if ((value.listens || []).includes(name)) trigger(name, detail);
}
// The first picture of a map shows all of it in a fixed size; on another screen, ask for its own.
function sharpen() {
  const known = meta().pixels, box = meta().window;
  if (!known || value.exact) return;
  const [x, y] = axes(), scale = Math.min(2, window.devicePixelRatio || 1);
  const across = known[0] / Math.max(1, scale * Math.abs(x.d2p(box[1]) - x.d2p(box[0])));
  const down = known[1] / Math.max(1, scale * Math.abs(y.d2p(box[3]) - y.d2p(box[2])));
  if (Math.max(across, down, 1 / across, 1 / down) > 2 || Math.abs(Math.log(across / down)) > 0.15) ask("view", view());
}
let moving = 0;
function moved(change) {
  place(-1);
  markRuns();
  if (!isMap() || !Object.keys(change).some((name) => /axis|autosize/.test(name))) return;
  clearTimeout(moving);
  moving = setTimeout(() => ask("view", view()), 60);
}

// ---------------------------------------------------------------- pointing, picking, selecting

function listen() {
  plot.on("plotly_hover", ({ points }) => {
    const point = points.find((one) => one.customdata) || points[0];
    if (tipped() && point.customdata) place(point.pointNumber, point.bbox);
    else hovering = -1;
    pointAt(runAt(point.curveNumber, point.pointNumber));
    root.dataset.hovered = point.customdata ? point.customdata[0] : "";
  });
  plot.on("plotly_unhover", () => { place(-1); pointAt(null); });
  let told = false; // Plotly tells of a click only if it has hovered since it last drew
  plot.on("plotly_click", ({ points }) => {
    told = true;
    const point = points.find((one) => one.customdata) || points[0];
    pick(point.curveNumber, point.pointNumber);
  });
  plot.addEventListener("pointerdown", () => { told = false; }, true);
  plot.addEventListener("click", (event) => {
    const point = !told && isMap() && event.target.closest(".nsewdrag") ? nearest(event) : -1;
    told = true; // a touch may be followed by a second click
    if (point >= 0) pick(marks(), point);
  });
  plot.on("plotly_relayout", moved);
  plot.on("plotly_selected", (found) => {
    if (found && found.lassoPoints) select(found.lassoPoints.x, found.lassoPoints.y);
    else if (found && found.range && found.range.x) {
      const [[a, b], [c, d]] = [found.range.x, found.range.y];
      select([a, b, b, a], [c, c, d, d]);
    }
  });
  plot.on("plotly_deselect", () => clear());
  plot.on("plotly_doubleclick", () => { if (isMap()) whole(); });
  plot.on("plotly_clickannotation", ({ annotation }) => ask("open", { name: annotation.name }));
  // Plotly takes clicks on two entries within 300 ms for a double click; the browser does not.
  plot.on("plotly_legendclick", ({ curveNumber, event }) => {
    if (!onPlate()) return true;
    if (!meta().gallery) toggle(drawn.data[curveNumber].name, event.detail === 2);
    return false;
  });
}
// A class of a map's legend: hide it or show it again; alone, or all again after that.
function toggle(name, alone) {
  const classes = drawn.data.filter((one) => one.showlegend).map((one) => one.name);
  const others = classes.filter((one) => one !== name);
  if (!hidden.delete(name)) hidden.add(name); // the second click of two undoes the first
  if (alone) {
    const already = !hidden.has(name) && others.every((one) => hidden.has(one));
    hidden = new Set(already ? [] : others);
  }
  ask("view", view());
}
const tipped = () => isMap() || meta().space;
// The ring around the code that is selected, in every chart that shows it.
let picked = -1;
async function mark(code) {
  picked = code;
  if (!drawn || !isMap()) return;
  root.dataset.code = code;
  const own = drawn.data[marks()];
  const ring = drawn.data.findIndex((one) => one.meta && one.meta.picked !== undefined);
  const i = own ? Array.prototype.findIndex.call(own.customdata, (row) => row[0] === code) : -1;
  if (ring < 0 || i < 0 || drawn.data[ring].meta.picked === code) return;
  drawn.data[ring].meta.picked = code;
  Plotly.restyle(plot, { x: [[own.x[i]]], y: [[own.y[i]]] }, [ring]);
}
window.addEventListener("regvq-code", (event) => mark(event.detail));
function select(xs, ys) {
  const polygon = Array.from(xs, (x, i) => [x, ys[i]]);
  const step = Math.ceil(polygon.length / 150);
  ask("select", { polygon: polygon.filter((_, i) => i % step === 0), ...view() });
}
async function clear() {
  if ((plot.layout.selections || []).length) await Plotly.relayout(plot, { selections: [] });
  if (meta().chosen) ask("select", view());
}
// The place of a mark, in pixels of the plot.
function spot(trace, i) {
  const [x, y] = axes();
  return [x._offset + x.d2p(trace.x[i]), y._offset + y.d2p(trace.y[i])];
}
// The mark that a click meets, or -1.
function nearest(event) {
  const trace = drawn.data[marks()], box = plot.getBoundingClientRect();
  let found = -1, least = 20 ** 2; // pixels, as Plotly's
  for (let i = 0; trace && i < trace.x.length; i++) {
    const [x, y] = spot(trace, i);
    const apart = (x - (event.clientX - box.left)) ** 2 + (y - (event.clientY - box.top)) ** 2;
    if (apart < least) [found, least] = [i, apart];
  }
  return found;
}
function pick(curve, point) {
  const trace = drawn.data[curve];
  const row = trace.customdata ? trace.customdata[point] : null;
  const code = row && typeof row === "object" ? row[0] : row;
  ask("pick", { index: code, x: trace.x[point], y: trace.y[point], name: trace.name || "" });
}
// Show the tip of a code, or none for -1.
function place(point, box) {
  hovering = point;
  const trace = drawn && drawn.data[Math.max(0, marks())], row = point >= 0 && trace && trace.customdata[point];
  tip.hidden = ring.hidden = !row;
  clearTimeout(resting);
  if (!row) return;
  const [code, uses, share, rank, norm] = row;
  tip.querySelector("b").textContent = "Code " + code;
  tip.querySelector("span").textContent = (uses ? many(uses) + (uses === 1 ? " use, " : " uses, ") + Number(share).toPrecision(2) + " %, no. " + many(rank)
    : "dead: no uses") + (norm === undefined ? "" : ", norm " + Number(norm).toPrecision(3)) + (trace.text ? "; " + trace.text[point] : "");
  root.dataset.hovered = code;
  let x, y;
  if (meta().space && box) { x = (box.x0 + box.x1) / 2; y = (box.y0 + box.y1) / 2; }
  else [x, y] = spot(trace, point);
  ring.style.left = x + "px";
  ring.style.top = y + "px";
  showTile(code);
  regvq.placeTip(tip, plot.clientWidth, { x, y, height: 0 }, 16);
}
function showTile(code) {
  const canvas = tip.querySelector("canvas"), known = tiles.get(code);
  canvas.hidden = !known;
  root.dataset.tile = known ? code : "";
  if (known) {
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(known, 0, 0, canvas.width, canvas.height);
  } else resting = setTimeout(() => ask("tile", { code }), 40);
}
async function keepTile({ code, source, of }) {
  const picture = await regvq.loadImage(source);
  if (of !== tiles.of) return;
  if (tiles.size > 2000) tiles.clear();
  tiles.set(code, picture);
  if (Number(root.dataset.hovered) === code && !tip.hidden) showTile(code);
}

// ---------------------------------------------------------------- changes

root.dataset.name = (element.closest("[id]:not([id^=html-])") || {}).id || "chart";
function update() {
  const next = props.value || {};
  if (next.tile) { keepTile(next.tile); return; }
  if (next.none !== undefined) {
    root.dataset.state = "none";
    delete root.dataset.points;
    $(".rv-figure-none").textContent = next.none;
    $(".rv-figure-none").hidden = !next.none;
    value = {};
    return;
  }
  if (!next.figure) return;
  // A list sends a choice twice, and gets the same chart twice; it is drawn once.
  const words = JSON.stringify({ ...next, stamp: 0 });
  if (words === value.words && (busy || words === of.words) && !next.more) return;
  if (next.exact && value.figure && next.place !== value.place) return; // a window of an earlier map
  $(".rv-figure-none").hidden = true;
  if (root.dataset.state === "none") root.dataset.state = "busy";
  if (next.of !== tiles.of) { tiles.clear(); tiles.of = next.of; at = null; }
  value = { ...next, figure: JSON.parse(next.figure), words };
  note([next.note, regvq.known(next.progress)].filter(Boolean).join(" "));
  if (next.progress) root.dataset.painted = next.progress.painted;
  draw();
  if (next.progress) follow(next.of);
  // A hidden tab does not keep the server busy; opening it draws, and asks, again.
  if (next.more && element.offsetParent !== null) ask("more");
}
// What is far below the window is drawn when it comes near: what is above has precedence.
let near = false, wide = 0;
const follow = regvq.follower(element, () => value.progress, () => drawn && isMap() && ask("view", { ...view(), follow: true }));
new IntersectionObserver((found, observer) => {
  if (!found.some((one) => one.isIntersecting)) return;
  near = true;
  observer.disconnect();
  draw();
}, { rootMargin: "300px" }).observe(root);
new ResizeObserver(() => requestAnimationFrame(async () => {
  if (!plot.clientWidth || plot.clientWidth === wide) return;
  wide = plot.clientWidth;
  if (!drawn) { draw(); return; }
  await Plotly.Plots.resize(plot);
  markRuns();
})).observe(plot);
regvq.onTheme(() => drawn && draw());
listenToKeys();
listenToZoom();
listenToTools();
listenToRuns();
watch("value", update);
update();
