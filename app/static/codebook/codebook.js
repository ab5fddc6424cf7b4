// The codebook as a square of cells on a canvas, because it can have 65,536 codes.
// props.value: {checkpoint, source, counts (K, float64), alike (K, uint32: the code in each cell),
// colors (K x 3, uint8), these three as base64; tokens, perplexity, patch: f, sprite: file of all
// tiles, ramp: [[r, g, b], ...], progress: {painted, total, counted, scenes, arranged, finished}},
// or {} at first. Of a large codebook, sprite is null, and what the page asks for follows as
// {checkpoint, more: {tiles, or codes and colors of further codes and new counts; progress}}.
const { many, unpack } = regvq, $ = regvq.finder(element);
const root = $(".rv-codebook"), square = $(".rv-square"), tip = $(".rv-tip");
const cells = $(".rv-cells"), marks = $(".rv-marks"), curve = $(".rv-curve canvas");
const color = (name) => regvq.color(element, name);

const choice = { view: "usage", order: "alike" };
let data = null, sheet = null, order = [], placeOf = [], rank = [], side = 1, cell = 1;
let hovered = -1, cursor = -1, picked = -1;
const PAGE = 256;  // codes of a large codebook whose tiles are shown at a time
let page = 0, shown = [], resting = 0;
const paged = () => choice.view === "patches" && sheet && sheet.at;

// ---------------------------------------------------------------- orders

const linear = Float64Array.from({ length: 256 }, (_, c) =>
  c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);

function oklab(r, g, b) {
  const x = linear[r], y = linear[g], z = linear[b];
  const l = Math.cbrt(0.4122214708 * x + 0.5363325363 * y + 0.0514459929 * z);
  const m = Math.cbrt(0.2119034982 * x + 0.6806995451 * y + 0.1073969566 * z);
  const s = Math.cbrt(0.0883024619 * x + 0.2817188376 * y + 0.6299787005 * z);
  return [0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
          1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
          0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s];
}

function byColor(colors) {
  // Grays first, then the hues in order; within each of them from dark to light.
  const keys = Float64Array.from({ length: colors.length / 3 }, (_, code) => {
    const [light, a, b] = oklab(...colors.subarray(3 * code, 3 * code + 3));
    const hue = Math.hypot(a, b) < 0.025 ? -1 : Math.floor(((Math.atan2(b, a) / Math.PI + 1) / 2) * 18);
    return hue + light;
  });
  return Uint32Array.from(keys.keys()).sort((p, q) => keys[p] - keys[q]);
}

function arrange() {
  const codes = Uint32Array.from(data.counts.keys());
  const byUse = codes.slice().sort((p, q) => data.counts[q] - data.counts[p]);
  byUse.forEach((code, i) => { rank[code] = i + 1; });
  order = { alike: data.alike, usage: byUse, number: codes }[choice.order]
    || byColor(data.colors);
  showPage();
}

function showPage() {
  const pages = Math.ceil(order.length / PAGE), pager = $(".rv-pager");
  page = Math.max(0, Math.min(pages - 1, page));
  root.dataset.paged = Boolean(paged());
  pager.hidden = !paged();
  shown = paged() ? order.slice(page * PAGE, (page + 1) * PAGE) : order;
  placeOf = new Array(order.length);
  shown.forEach((code, i) => { placeOf[code] = i; });
  side = Math.ceil(Math.sqrt(paged() ? PAGE : order.length));
  pager.querySelector("span").textContent = many(page * PAGE + 1) + " to "
    + many(page * PAGE + shown.length) + " of " + many(order.length);
  pager.querySelector("[data-page='-1']").disabled = page === 0;
  pager.querySelector("[data-page='1']").disabled = page === pages - 1;
}

function spot(i) { return [i % side, Math.floor(i / side)]; }
function at(x, y) {
  if (x < 0 || y < 0 || x >= side || y >= side) return -1;
  const i = y * side + x;
  return i < shown.length ? shown[i] : -1;
}

// ---------------------------------------------------------------- drawing

function level(code) {
  const span = Math.log(Math.max(data.top, data.low + 1) / data.low);
  return Math.max(0, Math.log(data.counts[code] / data.low) / span);
}
const heat = (t) => "rgb(" + regvq.onRamp(data.ramp, t) + ")";
function dead(pen, x, y, w) {
  if (w < 3) { pen.fillStyle = "#2b323b"; pen.fillRect(x, y, w, w); return; }
  // Not by hue alone: a dead code is an open cell that is crossed out.
  pen.strokeStyle = "#6d7683";
  pen.lineWidth = Math.max(1, w / 14);
  pen.beginPath();
  if (w > 7) pen.rect(x + pen.lineWidth, y + pen.lineWidth, w - 2 * pen.lineWidth, w - 2 * pen.lineWidth);
  pen.moveTo(x + w * 0.28, y + w * 0.72);
  pen.lineTo(x + w * 0.72, y + w * 0.28);
  pen.stroke();
}

function draw() {
  if (!data) return;
  const scale = window.devicePixelRatio || 1;
  const width = square.clientWidth * scale;
  if (!width) return;
  cell = Math.max(1, width / side);
  cells.width = cells.height = marks.width = marks.height = Math.round(width);
  const pen = cells.getContext("2d");
  pen.imageSmoothingEnabled = false;
  const gap = cell > 9 ? Math.max(1, Math.round(cell * 0.06)) : cell > 4 ? 1 : 0;
  for (let i = 0; i < shown.length; i++) {
    const code = shown[i], [column, row] = spot(i);
    const x = Math.round(column * cell), y = Math.round(row * cell);
    const w = Math.round((column + 1) * cell) - x - gap, h = Math.round((row + 1) * cell) - y - gap;
    const alive = data.counts[code] > 0;
    if (choice.view === "usage") {
      if (alive) { pen.fillStyle = heat(level(code)); pen.fillRect(x, y, w, h); }
      else dead(pen, x, y, Math.min(w, h));
      continue;
    }
    if (sheet) {
      pen.globalAlpha = paged() ? (alive ? 1 : 0.6) : alive ? 0.5 + 0.5 * level(code) : 0.2;
      if (!regvq.drawTile(pen, sheet, code, order.length, data.patch, x, y, w, h)) {
        pen.globalAlpha = 1;
        pen.fillStyle = "#1f252d";
        pen.fillRect(x, y, w, h);
      }
      pen.globalAlpha = 1;
    }
    if (!alive && !paged()) dead(pen, x, y, Math.min(w, h));
  }
  if (paged()) sheet.want([...shown]);
  root.dataset.tiles = sheet && sheet.at ? shown.filter((code) => sheet.has(code)).length : shown.length;
  mark();
  drawCurve();
}

function ring(pen, code, colors, thick) {
  if (code < 0 || placeOf[code] === undefined) return;
  const [column, row] = spot(placeOf[code]);
  const w = Math.max(cell, 5), x = (column + 0.5) * cell - w / 2, y = (row + 0.5) * cell - w / 2;
  colors.forEach((c, i) => {
    const out = thick * (colors.length - 1 - i);
    pen.strokeStyle = c;
    pen.lineWidth = thick;
    pen.strokeRect(x - out + thick / 2, y - out + thick / 2, w + 2 * out - thick, w + 2 * out - thick);
  });
}
function mark() {
  const pen = marks.getContext("2d"), thick = Math.max(2, 2 * (window.devicePixelRatio || 1));
  pen.clearRect(0, 0, marks.width, marks.height);
  ring(pen, hovered >= 0 ? hovered : cursor, ["#ffffff"], thick);
  ring(pen, picked, ["#0b0d10", "#6fe0e2"], thick);
}

function drawCurve() {
  const found = data && regvq.penOn(curve);
  if (!found) return;
  const { pen, width: w, height: h } = found;
  const left = 44, right = 20, top = 12, bottom = 26;
  const K = data.counts.length, most = Math.max(2, data.top);
  const X = (r) => left + ((w - left - right) * Math.log(r)) / Math.log(Math.max(2, K));
  const Y = (c) => h - bottom - ((h - top - bottom) * Math.log(Math.max(c, 0.8) / 0.8)) / Math.log(most / 0.8);
  pen.font = "11px " + getComputedStyle(element).fontFamily;
  pen.strokeStyle = color("line");
  pen.fillStyle = color("ink-soft");
  pen.lineWidth = 1;
  for (let power = 1; power <= most; power *= 10) {
    pen.beginPath(); pen.moveTo(left, Y(power)); pen.lineTo(w - right, Y(power)); pen.stroke();
    pen.textAlign = "right"; pen.textBaseline = "middle";
    pen.fillText(power >= 1000 ? power / 1000 + "k" : String(power), left - 8, Y(power));
  }
  for (let r = 1; r <= K; r *= 10) {
    pen.textAlign = r === 1 ? "left" : "center"; pen.textBaseline = "top";
    pen.fillText(many(r), X(r), h - bottom + 8);
  }
  // The uses of each code if all were used equally, and the rank that equals the perplexity.
  const even = data.tokens / K, p = data.perplexity;
  pen.setLineDash([4, 4]);
  pen.strokeStyle = color("ink-soft");
  pen.beginPath(); pen.moveTo(left, Y(even)); pen.lineTo(w - right, Y(even)); pen.stroke();
  pen.textAlign = "left"; pen.textBaseline = "top";
  pen.fillText("even use", left + 6, Y(even) + 5);
  if (p >= 1) {
    pen.strokeStyle = color("warm");
    pen.beginPath(); pen.moveTo(X(p), top); pen.lineTo(X(p), h - bottom); pen.stroke();
    pen.fillStyle = color("warm");
    pen.textAlign = "right"; pen.textBaseline = "bottom";
    pen.fillText("perplexity " + many(Math.round(p)), X(p) - 6, h - bottom - 6);
  }
  pen.setLineDash([]);
  const sorted = data.sorted, alive = data.alive;
  pen.beginPath();
  let last = -1;
  for (let r = 1; r <= alive; r++) {
    const x = X(r);
    if (r < alive && x - last < 0.5) continue;
    if (last < 0) pen.moveTo(x, Y(sorted[r - 1])); else pen.lineTo(x, Y(sorted[r - 1]));
    last = x;
  }
  pen.strokeStyle = color("accent");
  pen.lineWidth = 2;
  pen.lineJoin = "round";
  pen.stroke();
  const code = hovered >= 0 ? hovered : picked;
  if (code >= 0 && data.counts[code]) {
    pen.beginPath();
    pen.arc(X(rank[code]), Y(data.counts[code]), 5, 0, 7);
    pen.fillStyle = color("accent"); pen.fill();
    pen.strokeStyle = color("surface"); pen.lineWidth = 2; pen.stroke();
  }
}

// ---------------------------------------------------------------- pointing and picking

function showTip(code) {
  if (code < 0) { tip.hidden = true; return; }
  const count = data.counts[code];
  tip.querySelector("b").textContent = "Code " + code;
  tip.querySelector("span").textContent = count
    ? many(count) + (count === 1 ? " use, " : " uses, ") + ((100 * count) / data.tokens).toPrecision(2)
      + " %, no. " + many(rank[code])
    : "dead: no uses";
  regvq.showTile(tip.querySelector("canvas"), sheet, code, data.counts.length, data.patch);
  tip.hidden = false;
  const box = square.getBoundingClientRect(), frame = square.parentElement.getBoundingClientRect();
  const unit = box.width / side, [column, row] = spot(placeOf[code]);
  regvq.placeTip(tip, frame.width, {
    x: box.left - frame.left + (column + 0.5) * unit, y: box.top - frame.top + row * unit, height: unit,
  });
}
function under(event) {
  const box = square.getBoundingClientRect(), unit = box.width / side;
  return at(Math.floor((event.clientX - box.left) / unit), Math.floor((event.clientY - box.top) / unit));
}
function hover(code) {
  if (code === hovered) return;
  hovered = code;
  showTip(code);
  clearTimeout(resting);
  if (code >= 0 && sheet && sheet.at) resting = setTimeout(() => sheet.want([code]), 200);
  mark();
  drawCurve();
}
function pick(code) {
  if (code < 0) return;
  select(code);
  trigger("pick", { index: code });
}
function select(code) {
  picked = cursor = code;
  root.dataset.code = code;
  mark();
  drawCurve();
}

square.addEventListener("pointermove", (event) => data && hover(under(event)));
square.addEventListener("pointerleave", () => data && hover(-1));
square.addEventListener("click", (event) => data && pick(under(event)));
square.addEventListener("blur", () => data && hover(-1));
square.addEventListener("keydown", (event) => {
  if (!data) return;
  const step = regvq.arrow(event);
  if (cursor < 0 || placeOf[cursor] === undefined) cursor = shown[0];
  if (step) {
    const [x, y] = spot(placeOf[cursor]), next = at(x + step[0], y + step[1]);
    if (next >= 0) cursor = next;
  } else if (event.key === "Home") cursor = shown[0];
  else if (event.key === "End") cursor = shown[shown.length - 1];
  else if (event.key === "Enter" || event.key === " ") pick(cursor);
  else if (event.key === "Escape") { hover(-1); return; }
  else return;
  event.preventDefault();
  hovered = -1;
  hover(cursor);
});

// ---------------------------------------------------------------- choices and changes

function set(name, value) {
  choice[name] = value;
  show[name](value);
  if (!data) return;
  arrange();
  page = picked >= 0 && name === "view" ? Math.floor(order.indexOf(picked) / PAGE) : name === "order" ? 0 : page;
  showPage();
  root.dataset[name] = value;
  draw();
}
const show = regvq.choices(element, set);

$(".rv-pager").addEventListener("click", (event) => {
  const step = Number(event.target.dataset.page);
  if (!step || !data) return;
  page += step;
  showPage();
  hover(-1);
  draw();
});

// ---------------------------------------------------------------- what becomes known later

let seen = 0;  // painted codes whose colors are here
const follow = regvq.follower(element, () => data && data.progress, ({ counted }) =>
  trigger("known", { known: seen, counted }));

function setProgress(progress) {
  data.progress = progress;
  regvq.showKnown(root, progress);
}

async function addMore(more) {
  if (more.tiles !== undefined && sheet && sheet.at) {
    const own = sheet;
    await own.add(more.tiles);
    if (own !== sheet) return;
    if (hovered >= 0) showTip(hovered);
    setProgress({ ...data.progress, painted: more.painted });
    if (paged()) draw();
    return;
  }
  if (more.codes) {
    const colors = unpack(more.colors, Uint8Array);
    unpack(more.codes, Uint32Array).forEach((code, i) =>
      data.colors.set(colors.subarray(3 * i, 3 * i + 3), 3 * code));
    if (more.counts) {
      Object.assign(data, { tokens: more.tokens, perplexity: more.perplexity, source: more.source });
      count(unpack(more.counts, Float64Array));
    }
    seen = more.painted;
    setProgress(more);
    if (more.counts || choice.order === "color") { arrange(); draw(); }
  }
  follow(data.checkpoint);
}

function count(counts) {
  data.counts = counts;
  data.sorted = data.counts.slice().sort((a, b) => b - a);
  data.alive = data.sorted.filter((count) => count > 0).length;
  data.top = data.sorted[0];
  // The scale starts above the rarest hundredth of the codes: a single rare code must not take the
  // contrast from all the others.
  data.low = Math.max(1, data.sorted[Math.max(0, Math.floor(data.alive * 0.99) - 1)] || 1);
  $(".rv-low").textContent = (data.low > 1 ? "≤ " : "") + many(data.low);
  $(".rv-high").textContent = many(data.top);
  curve.setAttribute("aria-label", "Uses of each code by rank, on logarithmic axes; perplexity "
    + Math.round(data.perplexity));
}

let turn = 0;
async function update() {
  const value = props.value;
  if (value && value.more) {
    if (data && value.checkpoint === data.checkpoint) await addMore(value.more);
    return;
  }
  if (!value || !value.counts) return;
  const mine = ++turn;
  const tiles = await regvq.loadTiles(value, (codes) => trigger("tiles", { codes }));
  if (mine !== turn) return;
  // Tiles that arrived for this checkpoint before are kept.
  const kept = data && data.checkpoint === value.checkpoint && sheet && sheet.at && tiles && tiles.at;
  if (!kept) { sheet = tiles; page = 0; }
  data = Object.assign({}, value, {
    alike: unpack(value.alike, Uint32Array),
    colors: unpack(value.colors, Uint8Array),
  });
  count(unpack(value.counts, Float64Array));
  seen = value.progress.painted;
  setProgress(value.progress);
  if (picked >= data.counts.length) picked = cursor = -1;
  $(".rv-map-legend u").style.background = regvq.gradient(data.ramp);
  arrange();
  draw();
  root.dataset.state = "ready";
  root.dataset.codes = data.counts.length;
  follow(data.checkpoint);
}

window.addEventListener("regvq-code", (event) => data ? select(event.detail) : (picked = event.detail));
regvq.onResize(square, draw);
regvq.onResize(curve.parentElement, drawCurve);
regvq.onTheme(draw);
watch("value", update);
update();
