// The codebook as a cloud of points, drawn pixel by pixel so that 65,536 codes move smoothly.
// props.value: {checkpoint, counts (K, float64), colors (K x 3, uint8), norms (K, float32),
// pca (K x 3, float32), these as base64; source, patch: f, sprite: file, ramp: [[r, g, b], ...],
// quick: axes whose UMAP is available, real: {sheet: file, of (K, uint8 as base64), side, source,
// pictures} or null}; then, on request,
// {checkpoint, layout: {axes, neighbors, places}}, {checkpoint, refused: true} if there can be none,
// or {checkpoint, classes: {of, names, colors}}. Of a large codebook, sprite is null, and tiles,
// colors and counts follow as for the codebook: {checkpoint, more}.
const { many, unpack } = regvq, $ = regvq.finder(element);
const root = $(".rv-codemap"), plate = $(".rv-cloud"), tip = $(".rv-tip"), group = $(".rv-group");
const points = $(".rv-points"), marks = $(".rv-over-points"), sheetOf = $(".rv-group canvas");
const still = window.matchMedia("(prefers-reduced-motion: reduce)");
const DEAD = [104, 112, 124], GROUND = [20, 23, 28], TILE = 34;

const choice = { method: "pca", neighbors: "15", axes: "2", color: "usage", marks: "dots", drag: "move",
  group: "paints" };
let real = null;   // patches of real pictures: {sheet, starts, side, columns}, loaded on request
let data = null, sheet = null, layouts = {}, classes = null, K = 0;
let from = null, to = null, now = null, began = 0;      // places, K x 3: two layouts and the one between them
let paint = null, order = null, sx = null, sy = null, sz = null;
let view = { x: 0, y: 0, zoom: 1, yaw: 0.6, pitch: 0.35 };
let hovered = -1, picked = -1, chosen = null, path = null, frame = 0, turn = 0;

// ---------------------------------------------------------------- places

function fitted(places, axes) {
  // Centered, with the farthest code at about 1 and the same scale along every axis.
  const out = new Float32Array(3 * K);
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (let i = 0; i < K; i++) for (let a = 0; a < axes; a++) {
    const v = places[i * axes + a];
    if (v < low[a]) low[a] = v;
    if (v > high[a]) high[a] = v;
  }
  let span = 1e-9;
  for (let a = 0; a < axes; a++) span = Math.max(span, (high[a] - low[a]) / 2);
  for (let i = 0; i < K; i++) for (let a = 0; a < axes; a++) {
    out[3 * i + a] = (places[i * axes + a] - (low[a] + high[a]) / 2) / span;
  }
  return out;
}
const layoutKey = () => choice.method === "pca" ? "pca" + choice.axes
  : "umap" + choice.axes + "-" + choice.neighbors;

function arrange() {
  const key = layoutKey();
  if (!layouts[key]) {
    root.dataset.state = "waiting";
    trigger("layout", { axes: Number(choice.axes), neighbors: Number(choice.neighbors) });
    return;
  }
  root.dataset.state = "ready";
  root.dataset.layout = key;
  if (to === layouts[key]) return;
  from = now && now.length === 3 * K && !still.matches ? now.slice() : null;
  to = layouts[key];
  if (!now || now.length !== 3 * K) now = to.slice();
  began = performance.now();
  if (!from) now.set(to);
  redraw();
}
function travel() {
  if (!from) return false;
  const t = Math.min(1, (performance.now() - began) / 700), ease = t * t * (3 - 2 * t);
  for (let i = 0; i < 3 * K; i++) now[i] = from[i] + (to[i] - from[i]) * ease;
  if (t === 1) from = null;
  return true;
}

function project(width, height) {
  const scale = 0.46 * Math.min(width, height) * view.zoom;
  const flat = choice.axes === "2" && !from;
  const cy = Math.cos(view.yaw), sn = Math.sin(view.yaw), cp = Math.cos(view.pitch), sp = Math.sin(view.pitch);
  const turned = choice.axes === "3";
  for (let i = 0; i < K; i++) {
    let x = now[3 * i], y = now[3 * i + 1], z = now[3 * i + 2];
    if (turned) {
      const u = cy * x + sn * z, w = cy * z - sn * x;
      x = u; z = cp * w + sp * y; y = cp * y - sp * w;
      const near = 1 / (1 + 0.22 * z);
      x *= near; y *= near;
    }
    sx[i] = width / 2 + (x + view.x) * scale;
    sy[i] = height / 2 - (y + view.y) * scale;
    sz[i] = flat ? 0 : z;
  }
}

// ---------------------------------------------------------------- colors

function recolor() {
  paint = new Uint8Array(3 * K);
  const set = (i, c) => { paint[3 * i] = c[0]; paint[3 * i + 1] = c[1]; paint[3 * i + 2] = c[2]; };
  const heat = (t) => regvq.onRamp(data.ramp, t);
  const scaled = choice.color === "usage" || choice.color === "norm";
  $(".rv-scale").hidden = !scaled;
  $(".rv-classes").replaceChildren();
  if (choice.color === "usage") {
    const span = Math.log(Math.max(data.top, data.low + 1) / data.low);
    for (let i = 0; i < K; i++) set(i, data.counts[i] ? heat(Math.log(data.counts[i] / data.low) / span) : DEAD);
    legend((data.low > 1 ? "≤ " : "") + many(data.low), many(data.top), "uses (log scale); gray: dead");
  } else if (choice.color === "norm") {
    const span = Math.max(data.longest - data.shortest, 1e-9);
    for (let i = 0; i < K; i++) set(i, heat((data.norms[i] - data.shortest) / span));
    legend(data.shortest.toPrecision(3), data.longest.toPrecision(3), "length of the code vector");
  } else if (choice.color === "class" && classes) {
    const found = new Array(classes.names.length).fill(0);
    for (let i = 0; i < K; i++) {
      const kind = classes.of[i];
      set(i, kind === 255 ? DEAD : classes.colors[kind]);
      if (kind !== 255) found[kind]++;
    }
    const names = [...found.keys()].filter((k) => found[k]).sort((a, b) => found[b] - found[a]);
    $(".rv-classes").replaceChildren(...names.map((k) =>
      regvq.classKey(classes.colors[k], classes.names[k] + " " + many(found[k]))));
  } else {
    paint.set(data.colors);
    if (choice.color === "class") trigger("classes", {});
  }
  root.dataset.color = choice.color === "class" && !classes ? "mean" : choice.color;
}
function legend(low, high, what) {
  $(".rv-low").textContent = low;
  $(".rv-high").textContent = high;
  $(".rv-what").textContent = what;
  $(".rv-scale u").style.background = regvq.gradient(data.ramp);
}

// ---------------------------------------------------------------- drawing

let image = null;
const stamps = new Map();
function stamp(radius) {
  const r = Math.max(0.5, Math.round(radius * 2) / 2);
  if (!stamps.has(r)) {
    const reach = Math.ceil(r), side = 2 * reach + 1, mask = new Uint8Array(side * side);
    for (let y = -reach; y <= reach; y++) for (let x = -reach; x <= reach; x++) {
      mask[(y + reach) * side + x + reach] = 255 * Math.max(0, Math.min(1, r + 0.5 - Math.hypot(x, y)));
    }
    stamps.set(r, { mask, reach, side });
  }
  return stamps.get(r);
}
function sorted() {
  // The farthest first, in 256 bins: sorting 65,536 floats would take longer than drawing them.
  if (choice.axes === "2") return order;
  let low = Infinity, high = -Infinity;
  for (let i = 0; i < K; i++) { if (sz[i] < low) low = sz[i]; if (sz[i] > high) high = sz[i]; }
  const bins = new Uint32Array(257), scale = 255.999 / Math.max(high - low, 1e-9);
  for (let i = 0; i < K; i++) bins[256 - Math.floor((sz[i] - low) * scale)]++;
  for (let b = 1; b < 257; b++) bins[b] += bins[b - 1];
  const out = new Uint32Array(K);
  for (let i = K - 1; i >= 0; i--) out[--bins[256 - Math.floor((sz[i] - low) * scale)]] = i;
  return out;
}
function baseRadius(dpr) {
  const own = K <= 1500 ? 4.6 : K <= 6000 ? 3 : K <= 20000 ? 2 : 1.4;
  return own * dpr * Math.min(2.4, Math.sqrt(view.zoom));
}

function redraw() { if (!frame) frame = requestAnimationFrame(draw); }
function draw() {
  frame = 0;
  if (!data || !now) return;
  const dpr = window.devicePixelRatio || 1;
  const width = Math.round(plate.clientWidth * dpr), height = Math.round(plate.clientHeight * dpr);
  if (!width) return;
  if (points.width !== width || points.height !== height) {
    points.width = marks.width = width;
    points.height = marks.height = height;
  }
  const moving = travel();
  project(width, height);
  const pen = points.getContext("2d", { alpha: false });
  const radius = baseRadius(dpr), walk = sorted();
  let inView = 0;
  for (let i = 0; i < K; i++) if (sx[i] > 0 && sy[i] > 0 && sx[i] < width && sy[i] < height) inView++;
  const patches = choice.marks === "patches" && sheet && inView <= (sheet.at ? 1024 : 4096);
  root.dataset.marks = patches ? "patches" : "dots";
  if (patches) {
    pen.fillStyle = "rgb(" + GROUND + ")";
    pen.fillRect(0, 0, width, height);
    pen.imageSmoothingEnabled = false;
    const inside = [], room = Math.sqrt((width * height) / Math.max(inView, 1));
    const side = Math.max(7 * dpr, Math.min(30 * dpr, 0.62 * room, 3.4 * radius));
    for (let n = 0; n < K; n++) {
      const i = walk[n], x = sx[i] - side / 2, y = sy[i] - side / 2;
      if (x < -side || y < -side || x > width || y > height) continue;
      pen.globalAlpha = chosen && !chosen.has(i) ? 0.16 : data.counts[i] ? 1 : 0.4;
      tile(pen, i, x, y, side);
      inside.push(i);
    }
    pen.globalAlpha = 1;
    if (sheet.at) sheet.want(inside.sort((a, b) => data.counts[b] - data.counts[a]));
  } else {
    if (!image || image.width !== width || image.height !== height) image = pen.createImageData(width, height);
    const out = image.data;
    new Uint32Array(out.buffer).fill((255 << 24) | (GROUND[2] << 16) | (GROUND[1] << 8) | GROUND[0]);
    for (let n = 0; n < K; n++) {
      const i = walk[n], alive = data.counts[i] > 0;
      const depth = choice.axes === "3" ? Math.max(0.55, 1 - 0.3 * sz[i]) : 1;
      const { mask, reach, side } = stamp(radius * depth * (alive ? 1 : 0.7));
      const cx = Math.round(sx[i]), cy = Math.round(sy[i]);
      if (cx + reach < 0 || cy + reach < 0 || cx - reach >= width || cy - reach >= height) continue;
      const strong = (chosen && !chosen.has(i) ? 0.13 : choice.axes === "3" ? Math.min(1, 0.8 - 0.35 * sz[i]) : 0.94) / 255;
      const r = paint[3 * i], g = paint[3 * i + 1], b = paint[3 * i + 2];
      for (let y = Math.max(0, cy - reach); y <= Math.min(height - 1, cy + reach); y++) {
        let at = (y - cy + reach) * side + Math.max(0, cx - reach) - cx + reach;
        let p = 4 * (y * width + Math.max(0, cx - reach));
        for (let x = Math.max(0, cx - reach); x <= Math.min(width - 1, cx + reach); x++, at++, p += 4) {
          const a = mask[at] * strong;
          if (a <= 0) continue;
          out[p] += (r - out[p]) * a;
          out[p + 1] += (g - out[p + 1]) * a;
          out[p + 2] += (b - out[p + 2]) * a;
        }
      }
    }
    pen.putImageData(image, 0, 0);
  }
  mark();
  if (moving) redraw();
}
function ring(pen, i, colors, dpr) {
  if (i < 0 || i >= K) return;
  const r = Math.max(7 * dpr, baseRadius(dpr) + 3 * dpr);
  colors.forEach((c, n) => {
    pen.strokeStyle = c;
    pen.lineWidth = (colors.length - n) * 2 * dpr;
    pen.beginPath(); pen.arc(sx[i], sy[i], r, 0, 7); pen.stroke();
  });
}
function mark() {
  const pen = marks.getContext("2d"), dpr = window.devicePixelRatio || 1;
  pen.clearRect(0, 0, marks.width, marks.height);
  if (!sx) return;
  ring(pen, hovered, ["#0b0d10", "#ffffff"], dpr);
  ring(pen, picked, ["#0b0d10", "#6fe0e2"], dpr);
  if (path && path.length > 1) {
    pen.beginPath();
    path.forEach(([x, y], n) => (n ? pen.lineTo(x * dpr, y * dpr) : pen.moveTo(x * dpr, y * dpr)));
    pen.closePath();
    pen.fillStyle = "rgba(111,224,226,.14)"; pen.fill();
    pen.strokeStyle = "#6fe0e2"; pen.lineWidth = 1.5 * dpr; pen.stroke();
  }
  if (!tip.hidden) updateTip();
}

// ---------------------------------------------------------------- pointing and picking

let resting = 0;
function tile(pen, code, x, y, side) {
  if (regvq.drawTile(pen, sheet, code, K, data.patch, x, y, side)) return;
  pen.fillStyle = "rgb(" + paint.subarray(3 * code, 3 * code + 3) + ")";  // not painted yet
  pen.fillRect(x + 0.3 * side, y + 0.3 * side, 0.4 * side, 0.4 * side);
}
function hover(i) {
  if (i !== hovered) {
    hovered = i;
    root.dataset.hovered = i;
    if (i >= 0) {
      const count = data.counts[i];
      tip.querySelector("b").textContent = "Code " + i;
      const kind = classes && choice.color === "class" && classes.of[i] !== 255
        ? "; mostly " + classes.names[classes.of[i]] : "";
      tip.querySelector("span").textContent = (count
        ? many(count) + (count === 1 ? " use, " : " uses, ") + ((100 * count) / data.total).toPrecision(2) + " %"
        : "dead: no uses") + ", norm " + data.norms[i].toPrecision(3) + kind;
      regvq.showTile(tip.querySelector("canvas"), sheet, i, K, data.patch);
      clearTimeout(resting);
      if (sheet && sheet.at) resting = setTimeout(() => sheet.want([i]), 200);
    }
    tip.hidden = i < 0;
  }
  mark();
}
function updateTip() {
  const dpr = window.devicePixelRatio || 1, x = sx[hovered] / dpr, y = sy[hovered] / dpr;
  regvq.placeTip(tip, plate.clientWidth, { x, y, height: 0 }, 14);
}
function nearest(x, y, within) {
  const dpr = window.devicePixelRatio || 1;
  let best = -1, apart = (within * dpr) ** 2;
  for (let i = 0; i < K; i++) {
    const d = (sx[i] - x * dpr) ** 2 + (sy[i] - y * dpr) ** 2;
    if (d < apart || (d === apart && best >= 0 && sz[i] < sz[best])) { apart = d; best = i; }
  }
  return best;
}
function local(event) {
  const box = plate.getBoundingClientRect();
  return [event.clientX - box.left - plate.clientLeft, event.clientY - box.top - plate.clientTop];
}
function pick(code) {
  if (code < 0) return;
  select(code);
  trigger("pick", { index: code });
}
function select(code) {
  picked = code;
  root.dataset.code = code;
  mark();
}

const touching = new Map();
let start = null;
plate.addEventListener("pointerdown", (event) => {
  if (!data || event.button || event.target.closest(".rv-zoom")) return;
  plate.setPointerCapture(event.pointerId);
  touching.set(event.pointerId, local(event));
  const at = local(event);
  start = { at, moved: false, lasso: touching.size === 1 && (choice.drag === "lasso" || event.shiftKey) };
  if (start.lasso) path = [at];
});
plate.addEventListener("pointermove", (event) => {
  if (!data) return;
  const at = local(event), last = touching.get(event.pointerId);
  if (!last) { if (!event.target.closest(".rv-zoom")) hover(nearest(...at, 14)); return; }
  const others = [...touching].filter(([id]) => id !== event.pointerId);
  touching.set(event.pointerId, at);
  if (Math.hypot(at[0] - start.at[0], at[1] - start.at[1]) > 4) start.moved = true;
  if (!start.moved) return;
  if (others.length) {
    const [ox, oy] = others[0][1];
    zoomTo(Math.hypot(at[0] - ox, at[1] - oy) / Math.max(1, Math.hypot(last[0] - ox, last[1] - oy)), ox, oy);
    path = null;
  } else if (start.lasso) {
    path.push(at);
    mark();
  } else if (choice.axes === "3" && !event.altKey) {
    view.yaw += (at[0] - last[0]) * 0.008;
    view.pitch = Math.max(-1.5, Math.min(1.5, view.pitch + (at[1] - last[1]) * 0.008));
    redraw();
  } else {
    const scale = 0.46 * Math.min(plate.clientWidth, plate.clientHeight) * view.zoom;
    view.x += (at[0] - last[0]) / scale;
    view.y -= (at[1] - last[1]) / scale;
    redraw();
  }
});
function release(event) {
  if (!touching.delete(event.pointerId) || !start) return;
  if (event.type === "pointerup" && !start.moved) {
    const code = nearest(...start.at, 18);
    path = null;
    if (code >= 0) { hover(code); pick(code); } else clearSelection();
  } else if (path) {
    lasso(path);
    path = null;
    redraw();
  }
}
plate.addEventListener("pointerup", release);
plate.addEventListener("pointercancel", (event) => { path = null; release(event); });
plate.addEventListener("pointerleave", () => data && !touching.size && hover(-1));
plate.addEventListener("blur", () => data && hover(-1));

function zoomTo(factor, x, y) {
  const before = view.zoom, scale = 0.46 * Math.min(plate.clientWidth, plate.clientHeight);
  view.zoom = Math.max(0.5, Math.min(60, view.zoom * factor));
  // The point under the pointer stays there.
  const dx = x - plate.clientWidth / 2, dy = y - plate.clientHeight / 2;
  view.x += dx / (scale * view.zoom) - dx / (scale * before);
  view.y -= dy / (scale * view.zoom) - dy / (scale * before);
  redraw();
}
plate.addEventListener("wheel", (event) => {
  // Until the map has the focus, the wheel scrolls the page.
  if (!data || document.activeElement !== plate) return;
  event.preventDefault();
  zoomTo(Math.exp(-event.deltaY * 0.0016), ...local(event));
}, { passive: false });
$(".rv-zoom").addEventListener("click", (event) => {
  const kind = event.target.dataset.zoom, middle = [plate.clientWidth / 2, plate.clientHeight / 2];
  if (kind === "reset") whole(); else if (kind) zoomTo(kind === "in" ? 1.5 : 1 / 1.5, ...middle);
});
function whole() {
  view = { x: 0, y: 0, zoom: 1, yaw: 0.6, pitch: 0.35 };
  redraw();
}
plate.addEventListener("keydown", (event) => {
  if (!data || event.target !== plate) return;
  const step = regvq.arrow(event);
  const cursor = hovered >= 0 ? hovered : picked >= 0 ? picked : 0;
  if (step) {
    // The nearest code in that direction; a distance to the side counts more.
    let best = -1, least = Infinity;
    for (let i = 0; i < K; i++) {
      const dx = sx[i] - sx[cursor], dy = sy[i] - sy[cursor], along = dx * step[0] + dy * step[1];
      if (along <= 0.5) continue;
      const cost = along + 2.5 * Math.abs(dx * step[1] + dy * step[0]);
      if (cost < least) { least = cost; best = i; }
    }
    hover(best >= 0 ? best : cursor);
  } else if (event.key === "Enter" || event.key === " ") { hover(cursor); pick(cursor); }
  else if (event.key === "+" || event.key === "=") zoomTo(1.5, plate.clientWidth / 2, plate.clientHeight / 2);
  else if (event.key === "-") zoomTo(1 / 1.5, plate.clientWidth / 2, plate.clientHeight / 2);
  else if (event.key === "0") whole();
  else if (event.key === "Escape") { hover(-1); clearSelection(); }
  else return;
  event.preventDefault();
});

// ---------------------------------------------------------------- lasso

function lasso(line) {
  const dpr = window.devicePixelRatio || 1, found = [];
  for (let i = 0; i < K; i++) {
    const x = sx[i] / dpr, y = sy[i] / dpr;
    let inside = false;
    for (let a = 0, b = line.length - 1; a < line.length; b = a++) {
      const [xa, ya] = line[a], [xb, yb] = line[b];
      if ((ya > y) !== (yb > y) && x < ((xb - xa) * (y - ya)) / (yb - ya) + xa) inside = !inside;
    }
    if (inside) found.push(i);
  }
  if (!found.length) { clearSelection(); return; }
  found.sort((a, b) => data.counts[b] - data.counts[a]);
  chosen = new Set(found);
  chosen.list = found;
  const uses = found.reduce((sum, code) => sum + data.counts[code], 0);
  const dead = found.filter((code) => !data.counts[code]).length;
  $(".rv-many").textContent = many(found.length) + (found.length === 1 ? " code" : " codes");
  $(".rv-share").textContent = ((100 * uses) / data.total).toPrecision(2) + " % of all tokens"
    + (dead ? ", " + many(dead) + " dead" : "") + (found.length > SHOWN ? "; the " + SHOWN + " most used are shown" : "");
  group.hidden = false;
  root.dataset.chosen = found.length;
  drawGroup();
  redraw();
}
const SHOWN = 480, GAP = 4, APART = 14;
let spots = [];   // the place of each shown code: {code, x, y, wide}
function drawGroup() {
  if (!chosen || group.hidden) return;
  const note = $(".rv-group-note");
  note.textContent = "";
  sheetOf.hidden = false;
  if (choice.group === "real") {
    if (!data.real) {
      note.textContent = "This checkpoint stores no patches; python train/patches.py adds them.";
      sheetOf.hidden = true;
      return;
    }
    if (!real) { fetchReal(); return; }
  }
  const dpr = window.devicePixelRatio || 1, width = sheetOf.parentElement.clientWidth
    - parseFloat(getComputedStyle(group).paddingLeft) * 2;
  const patched = choice.group === "real", side = patched ? 2 * TILE - 16 : TILE;
  const having = patched ? chosen.list.filter((code) => real.of[code]) : chosen.list;
  // As many patches per code as fit, so that a small selection shows more of each of its codes.
  const each = patched ? Math.max(1, Math.min(6, Math.floor(SHOWN / Math.max(1, having.length)))) : 1;
  let x = 0, y = 0;
  spots = [];
  for (const code of having.slice(0, SHOWN)) {
    const count = patched ? Math.min(each, real.of[code]) : 1;
    const wide = Math.min(width, count * (side + 1) - 1);
    if (x && x + wide > width) { x = 0; y += side + GAP; }
    spots.push({ code, x, y, wide, count });
    x += wide + (each > 1 ? APART : GAP);
  }
  sheetOf.side = side;
  sheetOf.width = Math.round(width * dpr);
  sheetOf.height = Math.round((spots.length ? y + side : 0) * dpr);
  sheetOf.style.height = sheetOf.height / dpr + "px";
  sheetOf.setAttribute("aria-label", (patched ? "Real patches" : "Tiles")
    + " of the selected codes, the most used first");
  const pen = sheetOf.getContext("2d");
  pen.scale(dpr, dpr);
  pen.imageSmoothingEnabled = patched;
  for (const { code, x, y, count } of spots) {
    pen.globalAlpha = data.counts[code] ? 1 : 0.35;
    if (!patched) { tile(pen, code, x, y, side); continue; }
    for (let n = 0; n < count; n++) {
      const at = real.starts[code] + n, s = real.side;
      pen.drawImage(real.sheet, (at % real.columns) * s, Math.floor(at / real.columns) * s, s, s,
        x + n * (side + 1), y, side, side);
    }
  }
  root.dataset.shown = spots.reduce((sum, spot) => sum + spot.count, 0);
  if (!patched && sheet && sheet.at) sheet.want(spots.map((spot) => spot.code));
  if (!patched) return;
  const without = chosen.list.length - having.length;
  note.textContent = "From " + many(data.real.pictures) + " " + data.real.source
    + (without ? "; " + many(without) + (without === 1 ? " code does" : " codes do") + " not occur in them." : ".");
}
async function fetchReal() {
  const wanted = data.real, picture = await regvq.loadImage(wanted.sheet.url);
  if (!data.real || data.real !== wanted || !picture.naturalWidth) return;
  const of = unpack(wanted.of, Uint8Array), starts = new Uint32Array(K);
  for (let code = 1; code < K; code++) starts[code] = starts[code - 1] + of[code - 1];
  real = { sheet: picture, of, starts, side: wanted.side, columns: Math.floor(picture.naturalWidth / wanted.side) };
  drawGroup();
}
function inGroup(event) {
  const box = sheetOf.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  const spot = spots.find((one) => x >= one.x && x < one.x + one.wide && y >= one.y && y < one.y + sheetOf.side);
  return spot ? spot.code : -1;
}
sheetOf.addEventListener("pointermove", (event) => chosen && hover(inGroup(event)));
sheetOf.addEventListener("pointerleave", () => data && hover(-1));
sheetOf.addEventListener("click", (event) => chosen && pick(inGroup(event)));
function clearSelection() {
  if (!chosen) return;
  chosen = null;
  group.hidden = true;
  delete root.dataset.chosen;
  redraw();
}
$(".rv-clear-selection").addEventListener("click", clearSelection);

// ---------------------------------------------------------------- choices and changes

// The maps of other checkpoints below use the same layout and color.
function shareChoice() {
  window.regvqMap = { method: choice.method, color: choice.color };
  window.dispatchEvent(new CustomEvent("regvq-map", { detail: window.regvqMap }));
}
function set(name, value) {
  const before = choice[name];
  choice[name] = value;
  show[name](value);
  if (name === "method") root.dataset.method = value;
  if (name === "drag") plate.dataset.drag = value;
  if (name === "group") { drawGroup(); return; }
  if (name === "method" || name === "color") shareChoice();
  if (!data || before === value) return;
  if (name === "method" || name === "axes" || name === "neighbors") {
    if (name === "axes") { view.x = view.y = 0; view.zoom = 1; }
    arrange();
  }
  if (name === "color") recolor();
  redraw();
}
const show = regvq.choices(element, set);

function count(counts) {
  data.counts = counts;
  K = counts.length;
  const alive = data.counts.filter((count) => count > 0).sort().reverse();
  data.top = alive[0] || 1;
  data.total = alive.reduce((sum, count) => sum + count, 0) || 1;
  // As in the codebook: a single rare code must not take the contrast from all the others.
  data.low = Math.max(1, alive[Math.max(0, Math.floor(alive.length * 0.99) - 1)] || 1);
}

// ---------------------------------------------------------------- what becomes known later

const follow = regvq.follower(element, () => data && data.progress, ({ painted, counted }) =>
  trigger("known", { known: painted, counted }));

function setProgress(progress) {
  data.progress = progress;
  regvq.showKnown(root, progress);
}

async function addMore(more) {
  if (more.tiles !== undefined && sheet && sheet.at) {
    const own = sheet;
    await own.add(more.tiles);
    if (own !== sheet) return;
    if (hovered >= 0) regvq.showTile(tip.querySelector("canvas"), sheet, hovered, K, data.patch);
    if (choice.group === "paints") drawGroup();
    if (choice.marks === "patches") redraw();
    return;
  }
  if (more.codes) {
    const colors = unpack(more.colors, Uint8Array);
    unpack(more.codes, Uint32Array).forEach((code, i) =>
      data.colors.set(colors.subarray(3 * i, 3 * i + 3), 3 * code));
    if (more.counts) count(unpack(more.counts, Float64Array));
    setProgress(more);
    recolor();
    redraw();
  }
  follow(data.checkpoint);
}

async function update() {
  const value = props.value || {};
  if (value.refused) { set("method", "pca"); return; }
  if (value.layout || value.classes) {
    if (!data || value.checkpoint !== data.checkpoint) return;  // the answer for another checkpoint
    if (value.layout) {
      const { axes, neighbors, places } = value.layout;
      layouts["umap" + axes + "-" + neighbors] = fitted(unpack(places, Float32Array), axes);
      arrange();
    } else {
      classes = { ...value.classes, of: unpack(value.classes.of, Uint8Array) };
      recolor();
      redraw();
    }
    return;
  }
  if (value.more) {
    if (data && value.checkpoint === data.checkpoint) await addMore(value.more);
    return;
  }
  if (!value.counts) return;
  const mine = ++turn, tiles = await regvq.loadTiles(value, (codes) => trigger("tiles", { codes }));
  if (mine !== turn) return;
  // Tiles that arrived for this checkpoint before are kept.
  const kept = data && data.checkpoint === value.checkpoint && sheet && sheet.at && tiles && tiles.at;
  if (!kept) sheet = tiles;
  const other = !data || data.checkpoint !== value.checkpoint || data.packed !== value.pca;
  data = Object.assign({}, value, {
    packed: value.pca,
    colors: unpack(value.colors, Uint8Array), norms: unpack(value.norms, Float32Array),
  });
  real = null;
  count(unpack(value.counts, Float64Array));
  setProgress(value.progress);
  data.longest = data.norms.reduce((a, b) => Math.max(a, b), 0);
  data.shortest = data.norms.reduce((a, b) => Math.min(a, b), Infinity);
  if (other) {
    const pca = unpack(value.pca, Float32Array), flat = new Float32Array(2 * K);
    for (let i = 0; i < K; i++) { flat[2 * i] = pca[3 * i]; flat[2 * i + 1] = pca[3 * i + 1]; }
    layouts = { pca2: fitted(flat, 2), pca3: fitted(pca, 3) };
    classes = null;
    chosen = null;
    group.hidden = true;
    [sx, sy, sz] = [0, 1, 2].map(() => new Float32Array(K));
    // Dead codes first, so that they are below the others.
    order = Uint32Array.from([...data.counts.keys()].sort((a, b) => (data.counts[a] > 0) - (data.counts[b] > 0)));
    if (picked >= K) picked = -1;
    hovered = -1;
    tip.hidden = true;
    now = to = null;
  }
  root.dataset.codes = K;
  recolor();
  arrange();
  redraw();
  follow(data.checkpoint);
}

window.addEventListener("regvq-code", (event) => { picked = event.detail; if (data) select(picked); });
new ResizeObserver(() => { redraw(); drawGroup(); }).observe(plate);
watch("value", update);
update();
