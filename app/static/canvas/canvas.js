// A semantic map that is drawn in classes, or a picture whose tokens are erased. props.value, from the
// server: {key, mode: "map", classes, palette: [[r, g, b]], width, height, ids} or {key, mode: "mask",
// width, height: in tokens, under: a picture's data address or file, note: a sentence about the
// picture}, or {key, none: a sentence} without a picture. ids, base64 of one byte per
// cell, is the drawing; this script writes it back when it changes. A new key is a new canvas.
const { pack, unpack } = regvq, $ = regvq.finder(element);
const root = $(".rv-canvas"), canvas = $("canvas"), cursorMark = $(".rv-brush-tip"), size = $(".rv-brush input");
const choice = { tool: "brush" };
let data = null, ids = null, picked = 0, past = [], down = false, at = null, last = null, key = null;

const setStatus = (text) => { $(".rv-canvas-note").textContent = text; };

// ---------------------------------------------------------------- drawing

function draw() {
  if (!data) return;
  const { width, height } = data, pen = canvas.getContext("2d"), image = pen.createImageData(width, height);
  for (let i = 0; i < ids.length; i++) {
    const color = data.mode === "map" ? data.palette[ids[i]] || [0, 0, 0] : [20, 23, 28];
    image.data.set([color[0], color[1], color[2], data.mode === "map" ? 255 : ids[i] ? 255 : 0], 4 * i);
  }
  pen.putImageData(image, 0, 0);
  const marked = ids.reduce((sum, one) => sum + (one ? 1 : 0), 0);
  if (data.mode === "mask") {
    setStatus(marked ? marked + " of " + ids.length + " tokens will be generated."
      : "Erase the part to inpaint." + (data.note ? " " + data.note : ""));
    root.dataset.marked = marked;
  }
}
function commit() {
  props.value = { ...props.value, ids: pack(ids) };
  root.dataset.strokes = Number(root.dataset.strokes || 0) + 1;
}
function saveForUndo() {
  past.push(ids.slice());
  if (past.length > 40) past.shift();
  $("[data-do=undo]").disabled = false;
}
function radius() {
  const share = data.mode === "map" ? 0.012 : 0.03;
  return Math.max(0.5, Number(size.value) * share * Math.min(data.width, data.height));
}
function brushValue() { return data.mode === "map" ? picked : choice.tool === "restore" ? 0 : 1; }
function dab(x, y) {
  const r = radius(), value = brushValue();
  const from = Math.max(0, Math.floor(y - r)), to = Math.min(data.height - 1, Math.ceil(y + r));
  for (let row = from; row <= to; row++) {
    for (let column = Math.max(0, Math.floor(x - r)); column <= Math.min(data.width - 1, Math.ceil(x + r)); column++) {
      // The brush covers a cell if it reaches the cell's middle, and always the cell under its tip.
      const near = Math.hypot(column + 0.5 - x, row + 0.5 - y) <= r;
      if (near || (Math.floor(x) === column && Math.floor(y) === row)) ids[row * data.width + column] = value;
    }
  }
}
function stroke(from, to) {
  const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / Math.max(0.5, radius() / 2)));
  for (let i = 0; i <= steps; i++) dab(from.x + ((to.x - from.x) * i) / steps, from.y + ((to.y - from.y) * i) / steps);
}
function fill(x, y) {
  const column = Math.floor(x), row = Math.floor(y), { width, height } = data;
  if (column < 0 || row < 0 || column >= width || row >= height) return;
  const old = ids[row * width + column], value = brushValue(), open = [row * width + column];
  if (old === value) return;
  while (open.length) {
    const i = open.pop();
    if (ids[i] !== old) continue;
    ids[i] = value;
    const c = i % width;
    if (c > 0) open.push(i - 1);
    if (c < width - 1) open.push(i + 1);
    if (i >= width) open.push(i - width);
    if (i < width * (height - 1)) open.push(i + width);
  }
}
function where(event) {
  const box = canvas.getBoundingClientRect();
  return { x: ((event.clientX - box.left) / box.width) * data.width, y: ((event.clientY - box.top) / box.height) * data.height };
}
function ring(point) {
  if (!point || !data) { cursorMark.style.display = "none"; return; }
  const unit = canvas.getBoundingClientRect().width / data.width, r = choice.tool === "fill" ? 3 : radius() * unit;
  Object.assign(cursorMark.style, { display: "block", width: 2 * r + "px", height: 2 * r + "px",
    left: point.x * unit - r + "px", top: point.y * unit - r + "px" });
}

canvas.addEventListener("pointerdown", (event) => {
  if (!data || event.button) return;
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  saveForUndo();
  last = where(event);
  if (choice.tool === "fill") fill(last.x, last.y); else { down = true; dab(last.x, last.y); }
  draw();
  if (!down) commit();
});
canvas.addEventListener("pointermove", (event) => {
  if (!data) return;
  const point = where(event);
  ring(point);
  if (!down) return;
  stroke(last, point);
  last = point;
  draw();
});
for (const kind of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(kind, () => { if (down) { down = false; commit(); } });
}
canvas.addEventListener("pointerleave", () => ring(null));
canvas.addEventListener("keydown", (event) => {
  if (!data) return;
  const step = Math.max(1, Math.round(Math.min(data.width, data.height) / 32));
  const way = regvq.arrow(event);
  at = at || { x: data.width / 2, y: data.height / 2 };
  if (way) {
    at = { x: Math.min(data.width - 0.5, Math.max(0.5, at.x + step * way[0])), y: Math.min(data.height - 0.5, Math.max(0.5, at.y + step * way[1])) };
  } else if (event.key === " " || event.key === "Enter") {
    saveForUndo();
    if (choice.tool === "fill") fill(at.x, at.y); else dab(at.x, at.y);
    draw();
    commit();
  } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
  else return;
  event.preventDefault();
  ring(at);
});

// ---------------------------------------------------------------- buttons

function undo() {
  if (!past.length) return;
  ids = past.pop();
  $("[data-do=undo]").disabled = !past.length;
  draw();
  commit();
}
root.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button || !data) return;
  if (button.dataset.do === "undo") undo();
  else if (button.dataset.do === "clear") {
    saveForUndo();
    ids.fill(data.mode === "map" ? picked : 0);
    draw();
    commit();
  } else $("input[type=file]").click();
});
$("input[type=file]").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  event.target.value = "";
  if (!file) return;
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture) { setStatus("The browser cannot read this file as a picture."); return; }
  const { width, height } = data, board = regvq.html("canvas");
  board.width = width;
  board.height = height;
  const pen = board.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingEnabled = false;
  const scale = Math.min(picture.width / width, picture.height / height);
  const across = scale * width, tall = scale * height;
  pen.drawImage(picture, (picture.width - across) / 2, (picture.height - tall) / 2, across, tall, 0, 0, width, height);
  const pixels = pen.getImageData(0, 0, width, height).data;
  let clear = 0;
  for (let i = 3; i < pixels.length; i += 4) if (pixels[i] < 255) clear++;
  if (clear) { // as the server refuses it: it would be read as a color
    setStatus("The map is transparent in " + Math.max(1, Math.round((400 * clear) / pixels.length))
      + " % of its pixels, which stands for no class: fill it with the colors below and save it without transparency.");
    return;
  }
  const found = new Uint8Array(width * height), unknown = new Map();
  for (let i = 0; i < found.length; i++) {
    let best = 0, least = Infinity;
    for (let k = 0; k < data.palette.length; k++) {
      const [r, g, b] = data.palette[k];
      const apart = (pixels[4 * i] - r) ** 2 + (pixels[4 * i + 1] - g) ** 2 + (pixels[4 * i + 2] - b) ** 2;
      if (apart < least) { least = apart; best = k; }
    }
    found[i] = best;
    if (least > 40 * 40) {
      const name = "#" + [0, 1, 2].map((c) => pixels[4 * i + c].toString(16).padStart(2, "0")).join("");
      unknown.set(name, (unknown.get(name) || 0) + 1);
    }
  }
  const stray = [...unknown.values()].reduce((a, b) => a + b, 0);
  if (stray > 0.01 * found.length) {
    const worst = [...unknown.entries()].sort((a, b) => b[1] - a[1])[0][0];
    setStatus("The map contains the color " + worst + ", which stands for no class: use the colors below.");
    return;
  }
  saveForUndo();
  ids = found;
  setStatus("");
  draw();
  commit();
});
const showTool = regvq.radios($("[data-choice=tool]"), (value) => { choice.tool = value; });
const showClass = regvq.radios($(".rv-swatches"), (value) => { picked = Number(value); });

// ---------------------------------------------------------------- values from the server

function update() {
  const value = props.value || {};
  if (value.none) {
    root.dataset.state = "none";
    root.dataset.mode = "mask";
    data = key = null;
    $(".rv-canvas-under").style.visibility = "hidden";
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    setStatus(value.none);
    return;
  }
  if (!value.mode) { // a new canvas is coming: a drawing on this one would be lost
    root.dataset.state = "busy";
    data = key = null;
    down = false;
    return;
  }
  if (value.key === key) return; // our own change
  key = value.key;
  data = value;
  ids = value.ids ? unpack(value.ids, Uint8Array) : new Uint8Array(value.width * value.height);
  past = [];
  at = null;
  $("[data-do=undo]").disabled = true;
  canvas.width = value.width;
  canvas.height = value.height;
  root.dataset.mode = value.mode;
  root.style.setProperty("--ratio", value.ratio || value.width / value.height);
  canvas.setAttribute("aria-label", (value.mode === "map" ? "The semantic map." : "The picture; the dark part will be inpainted.")
    + " Arrow keys move the brush, Space draws.");
  const under = $(".rv-canvas-under");
  under.style.visibility = "";
  if (value.under) { under.src = value.under.url || value.under; under.alt = "The picture to inpaint"; }
  else under.removeAttribute("src");
  $(".rv-swatches").replaceChildren(...(value.classes || []).map((name, i) => {
    const button = regvq.html("button"), swatch = regvq.html("i");
    button.type = "button";
    button.setAttribute("role", "radio");
    button.dataset.value = i;
    swatch.style.background = "rgb(" + value.palette[i].join(",") + ")";
    button.append(swatch, name);
    return button;
  }));
  showTool(choice.tool = value.mode === "map" ? "brush" : "erase");
  if (value.classes) showClass(picked = Math.min(picked, value.classes.length - 1));
  root.dataset.state = "ready";
  setStatus("");
  draw();
}
watch("value", update);
update();
