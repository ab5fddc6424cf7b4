// Several checkpoints on one picture: pictures that zoom and move together, and a table.
// props.value: {original: file, width, height, errorTop, ramp, rows: [{checkpoint, picture, error:
// files, psnr, ssim, ...}, or {checkpoint} while it is computed]}, {empty: a sentence},
// {problem: a sentence}, or {} at first.
const { html, many } = regvq, $ = regvq.finder(element);
const root = $(".rv-compare"), wall = $(".rv-wall");
const choice = { layer: "picture" }, sorted = { key: null, down: true };
const view = { scale: 1, x: 0.5, y: 0.5 }, MOST = 16;
let turn = 0, plates = [];

// better: +1 if higher is better, -1 if lower is, 0 if neither.
const COLUMNS = [
  { key: "checkpoint", label: "Checkpoint", better: 0, text: true },
  { key: "psnr", label: "PSNR", unit: "dB", better: 1, show: (v) => v.toFixed(2),
    title: "Higher is closer to the original" },
  { key: "ssim", label: "SSIM", better: 1, show: (v) => v.toFixed(3), title: "1 is the same structure" },
  { key: "bits_per_pixel", label: "Bits per pixel", better: -1, show: (v) => v.toPrecision(3),
    title: "Tokens times bits per token, divided by the number of pixels" },
  { key: "codes_used", label: "Codes used here", better: 1, show: many,
    title: "Different codes among this picture's tokens" },
  { key: "tokens", label: "Tokens", better: 0, show: many, title: "Tokens of this picture" },
  { key: "codebook_size", label: "Codebook", better: 0, show: many, title: "Number of codes in the codebook" },
  { key: "utilization", label: "Utilization", unit: "%", better: 1, own: true,
    show: (v) => (100 * v).toFixed(1), title: "Share of the codebook used on the checkpoint's own test pictures" },
  { key: "perplexity", label: "Perplexity", better: 1, own: true, show: (v) => many(Math.round(v)),
    title: "As varied as this many equally frequent codes, on its own test pictures" },
];

function rows() {
  const all = ((props.value || {}).rows || []).slice();
  if (!sorted.key) return all;
  const value = (row) => row[sorted.key];
  return all.sort((a, b) => {
    const p = value(a), q = value(b);
    if (p === q) return 0;
    if (p === undefined || p === null) return 1; // missing values are last in either order
    if (q === undefined || q === null) return -1;
    return (p < q ? -1 : 1) * (sorted.down ? -1 : 1);
  });
}

// ---------------------------------------------------------------- the wall

function plate(key, title) {
  const figure = html("figure", "rv-plate-card"), lens = html("div", "rv-plate rv-lens");
  figure.setAttribute("role", "listitem");
  figure.dataset.key = key;
  lens.tabIndex = 0;
  lens.setAttribute("role", "img");
  const image = html("img"), under = html("img", "rv-peek-under");
  for (const one of [image, under]) { one.alt = ""; one.draggable = false; }
  const cross = html("span", "rv-cross");
  cross.setAttribute("aria-hidden", "true");
  lens.append(image, under, html("span", "rv-tag rv-tag-left rv-peek-tag", "Original"), cross);
  const caption = html("figcaption"), name = html("b", "", title), figureText = html("span");
  name.title = title;
  caption.append(name, figureText);
  figure.append(lens, caption);
  return { key, figure, lens, image, under, text: figureText };
}

function layOut(value) {
  const keys = ["", ...rows().map((row) => row.checkpoint)];
  const known = new Map(plates.map((one) => [one.key, one]));
  plates = keys.map((key) => known.get(key) || plate(key, key || "Original"));
  wall.replaceChildren(...plates.map((one) => one.figure));
  const wide = value.width / value.height;
  const columns = keys.length <= 4 ? keys.length : keys.length <= 6 ? 3 : 4;
  wall.style.setProperty("--columns", columns);
  wall.style.setProperty("--narrow", wide > 1.8 ? 1 : 2);
  wall.style.setProperty("--ratio", wide);
}

async function draw() {
  const value = props.value || {}, mine = ++turn;
  if (!value.original) {
    root.dataset.state = value.problem ? "problem" : value.empty ? "empty" : "busy";
    $(".rv-nothing p").textContent = value.problem || value.empty || "";
    return;
  }
  const ready = rows().filter((row) => row.picture);
  await Promise.all([value.original, ...ready.map((row) => row[choice.layer])].map((file) => regvq.loadImage(file.url)));
  if (mine !== turn) return;
  layOut(value);
  const found = new Map(value.rows.map((row) => [row.checkpoint, row]));
  const best = Math.max(...ready.map((row) => row.psnr === null ? Infinity : row.psnr));
  for (const one of plates) {
    const row = found.get(one.key), file = one.key ? row && row[choice.layer] : value.original;
    one.figure.dataset.state = file ? "ready" : "busy";
    one.under.src = value.original.url;
    if (file && one.image.getAttribute("src") !== file.url) one.image.src = file.url;
    one.figure.dataset.layer = one.key ? choice.layer : "original";
    one.figure.dataset.best = Boolean(row && row.picture && ready.length > 1
      && (row.psnr === null ? Infinity : row.psnr) === best);
    one.text.textContent = !one.key ? value.width + " × " + value.height
      : row && row.picture ? (row.psnr === null ? "exact" : row.psnr.toFixed(2) + " dB") : "…";
    one.lens.setAttribute("aria-label", !one.key ? "The original picture"
      : choice.layer === "error" ? "The difference between " + one.key + " and the original"
      : "The reconstruction by " + one.key);
  }
  root.dataset.layer = choice.layer;
  $(".rv-error-key u").style.background = value.ramp;
  $(".rv-top").textContent = "≥ " + Math.round(100 * value.errorTop) + " %";
  move();
  table(value);
  const done = ready.length === value.rows.length;
  root.dataset.state = done ? "ready" : "partial";
  root.dataset.count = ready.length;
}

// ---------------------------------------------------------------- zoom and movement, for all at once

function move() {
  const half = 0.5 / view.scale;
  view.x = Math.min(1 - half, Math.max(half, view.x));
  view.y = Math.min(1 - half, Math.max(half, view.y));
  // Puts the picture's point (x, y) in the middle of the lens.
  const shift = (at) => 100 * (0.5 - at * view.scale);
  const transform = "translate(" + shift(view.x) + "%," + shift(view.y) + "%) scale(" + view.scale + ")";
  wall.style.setProperty("--view", transform);
  wall.dataset.zoomed = view.scale > 1;
  const value = props.value || {};
  const lens = plates.length ? plates[0].lens.clientWidth : 0;
  const enlarged = lens && value.width ? (lens * view.scale) / value.width : 1;
  wall.dataset.pixels = enlarged > 2.5; // shows single pixels as squares
  $(".rv-lens-zoom output").textContent = view.scale > 1 ? view.scale.toFixed(view.scale < 10 ? 1 : 0) + " ×" : "Fit";
  root.dataset.scale = view.scale;
}
function zoom(factor, at) {
  const before = view.scale;
  view.scale = Math.min(MOST, Math.max(1, view.scale * factor));
  if (Math.abs(view.scale - 1) < 0.02) view.scale = 1;
  if (at) { // the point under the pointer stays there
    view.x += (at.x - 0.5) * (1 / before - 1 / view.scale);
    view.y += (at.y - 0.5) * (1 / before - 1 / view.scale);
  }
  move();
}
function within(lens, event) {
  const box = lens.getBoundingClientRect();
  return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height, box };
}
function cross(at) {
  wall.classList.toggle("rv-pointing", Boolean(at));
  if (at) { wall.style.setProperty("--cx", 100 * at.x + "%"); wall.style.setProperty("--cy", 100 * at.y + "%"); }
}

const fingers = new Map();
let held = null, holding = 0, spread = 0;
function release() {
  clearTimeout(holding);
  if (held) held.classList.remove("rv-peek");
  held = null;
}
wall.addEventListener("pointerdown", (event) => {
  const lens = event.target.closest(".rv-lens");
  if (!lens || event.button) return;
  fingers.set(event.pointerId, event);
  if (fingers.size === 2) {
    release();
    const [a, b] = [...fingers.values()];
    spread = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    return;
  }
  lens.setPointerCapture(event.pointerId);
  held = lens;
  holding = setTimeout(() => held && held.classList.add("rv-peek"), 160);
});
wall.addEventListener("pointermove", (event) => {
  const lens = event.target.closest(".rv-lens");
  if (lens && event.pointerType === "mouse") cross(within(lens, event));
  const last = fingers.get(event.pointerId);
  if (!last || !lens) return;
  if (fingers.size === 2) {
    fingers.set(event.pointerId, event);
    const [a, b] = [...fingers.values()], box = lens.getBoundingClientRect();
    const now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    zoom(now / Math.max(1, spread), {
      x: ((a.clientX + b.clientX) / 2 - box.left) / box.width,
      y: ((a.clientY + b.clientY) / 2 - box.top) / box.height,
    });
    spread = now;
    return;
  }
  const dx = event.clientX - last.clientX, dy = event.clientY - last.clientY;
  if (view.scale === 1 || (Math.hypot(dx, dy) < 4 && held)) return;
  release();
  const box = lens.getBoundingClientRect();
  view.x -= dx / box.width / view.scale;
  view.y -= dy / box.height / view.scale;
  fingers.set(event.pointerId, event);
  move();
});
for (const kind of ["pointerup", "pointercancel"]) {
  wall.addEventListener(kind, (event) => { fingers.delete(event.pointerId); release(); });
}
wall.addEventListener("pointerleave", () => cross(null));
wall.addEventListener("contextmenu", (event) => { if (held) event.preventDefault(); });
wall.addEventListener("dblclick", (event) => {
  const lens = event.target.closest(".rv-lens");
  if (!lens) return;
  event.preventDefault();
  if (view.scale > 1) { view.scale = 1; move(); } else zoom(4, within(lens, event));
});
wall.addEventListener("wheel", (event) => {
  const lens = event.target.closest(".rv-lens");
  if (!lens || !(event.ctrlKey || event.metaKey)) return; // the plain wheel scrolls the page
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 160), within(lens, event));
}, { passive: false });
wall.addEventListener("keydown", (event) => {
  const lens = event.target.closest(".rv-lens");
  if (!lens) return;
  const step = 0.12 / view.scale, way = regvq.arrow(event);
  if (event.key === "+" || event.key === "=") zoom(1.5);
  else if (event.key === "-") zoom(1 / 1.5);
  else if (event.key === "0" || event.key === "Escape") { view.scale = 1; move(); }
  else if (event.key === " ") lens.classList.add("rv-peek");
  else if (way && view.scale > 1) { view.x += step * way[0]; view.y += step * way[1]; move(); }
  else return;
  event.preventDefault();
});
wall.addEventListener("keyup", (event) => {
  const lens = event.target.closest(".rv-lens");
  if (lens && event.key === " ") lens.classList.remove("rv-peek");
});
$(".rv-lens-zoom").addEventListener("click", (event) => {
  const button = event.target.closest("[data-zoom]");
  if (!button) return;
  if (button.dataset.zoom === "fit") { view.scale = 1; move(); } else zoom(button.dataset.zoom === "in" ? 1.6 : 1 / 1.6);
});

// ---------------------------------------------------------------- the table

function table(value) {
  const head = $(".rv-table thead tr"), body = $(".rv-table tbody");
  const focused = head.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  head.replaceChildren(...COLUMNS.map((column) => {
    const cell = html("th"), button = html("button");
    cell.scope = "col";
    cell.setAttribute("aria-sort", sorted.key !== column.key ? "none" : sorted.down ? "descending" : "ascending");
    button.type = "button";
    button.dataset.key = column.key;
    button.title = column.title || "";
    button.textContent = column.label + (column.unit ? ", " + column.unit : "");
    cell.append(button);
    return cell;
  }));
  const top = {}, best = {};
  for (const column of COLUMNS) {
    const values = value.rows.map((row) => row[column.key]).filter((v) => typeof v === "number");
    top[column.key] = Math.max(...values, 0);
    const pick = column.better > 0 ? Math.max : Math.min;
    if (column.better && values.length > 1 && new Set(values).size > 1) best[column.key] = pick(...values);
  }
  body.replaceChildren(...rows().map((row) => {
    const line = html("tr");
    line.dataset.key = row.checkpoint;
    for (const column of COLUMNS) {
      const cell = html(column.text ? "th" : "td");
      const known = row[column.key];
      if (column.text) {
        cell.scope = "row";
        const kind = row.quantizer
          ? row.quantizer + ", " + row.downsampling + " × " + row.downsampling + " pixels per code" : "…";
        cell.append(html("b", "", row.checkpoint), html("span", "", kind));
      } else {
        cell.dataset.figure = column.key;
        const number = html("span");
        number.textContent = typeof known === "number" ? column.show(known)
          : column.key === "psnr" && known === null ? "exact" : row.picture ? "–" : "…";
        cell.append(number);
        if (typeof known === "number" && column.better) {
          const bar = html("i"), fill = html("u");
          bar.setAttribute("aria-hidden", "true");
          fill.style.width = (column.key === "utilization" ? 100 * known : (100 * known) / (top[column.key] || 1)) + "%";
          bar.append(fill);
          cell.append(bar);
        }
        if (column.own && row.measured_on) cell.title = "Measured on " + row.measured_on;
        if (known !== undefined && known === best[column.key]) {
          cell.classList.add("rv-best");
          number.setAttribute("aria-label", number.textContent + ", the best");
        }
      }
      line.append(cell);
    }
    return line;
  }));
  if (focused) head.querySelector('[data-key="' + focused + '"]').focus();
}
$(".rv-table thead").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const column = COLUMNS.find((one) => one.key === button.dataset.key);
  // First click: the best on top; second: the reverse; third: the order in which they were chosen.
  const first = column.text ? false : column.better >= 0;
  if (sorted.key !== column.key) { sorted.key = column.key; sorted.down = first; }
  else if (sorted.down === first) sorted.down = !first;
  else sorted.key = null;
  draw();
});

// ---------------------------------------------------------------- downloads

const KEYS = ["checkpoint", "quantizer", "psnr", "ssim", "bits_per_pixel", "bytes", "tokens", "codes_used",
  "codebook_size", "downsampling", "utilization", "perplexity", "measured_on"];
function csv() {
  // A text that a spreadsheet would read as a formula is marked as text.
  const cell = (v) => v === null || v === undefined ? "" : typeof v === "number" ? String(v)
    : '"' + String(v).replace(/^[=+\-@]/, "'$&").replaceAll('"', '""') + '"';
  const lines = [KEYS.join(","), ...rows().map((row) => KEYS.map((key) => cell(row[key])).join(","))];
  regvq.save(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" }), "comparison.csv");
}
function json() {
  const { width, height } = props.value;
  const table = rows().map((row) => Object.fromEntries(KEYS.map((key) => [key, row[key] ?? null])));
  regvq.save(new Blob([JSON.stringify({ width, height, table })], { type: "application/json" }), "comparison.json");
}
async function sheet() {
  const value = props.value, cells = plates.filter((one) => one.figure.dataset.state === "ready");
  const columns = Math.min(cells.length, 4), gap = 16, label = 44;
  const w = value.width, h = value.height, lines = Math.ceil(cells.length / columns);
  const canvas = html("canvas");
  canvas.width = columns * (w + gap) + gap;
  canvas.height = lines * (h + label) + gap;
  const pen = canvas.getContext("2d");
  pen.fillStyle = regvq.color(element, "ground");
  pen.fillRect(0, 0, canvas.width, canvas.height);
  cells.forEach((one, i) => {
    const x = gap + (i % columns) * (w + gap), y = gap + Math.floor(i / columns) * (h + label);
    pen.drawImage(one.image, x, y, w, h);
    pen.fillStyle = regvq.color(element, "ink");
    pen.font = "600 " + Math.max(12, Math.min(20, w / 14)) + "px " + getComputedStyle(element).fontFamily;
    pen.fillText(one.figure.querySelector("b").textContent + "  " + one.text.textContent, x, y + h + 22, w);
  });
  canvas.toBlob((blob) => blob && regvq.save(blob, "comparison.png"), "image/png");
}
element.querySelector(".rv-downloads").addEventListener("click", (event) => {
  const button = event.target.closest("[data-save]");
  if (!button || !(props.value || {}).original) return;
  ({ csv, json, png: sheet })[button.dataset.save]();
});

// ---------------------------------------------------------------- choices and changes

function set(name, value) {
  choice[name] = value;
  show[name](value);
  draw();
}
const show = regvq.choices(element, set);

regvq.onResize(wall, move);
watch("value", draw);
draw();
