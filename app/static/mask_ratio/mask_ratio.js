// One token grid in four views: mask, changed tokens, the picture from them, entropy.
// props.value: {original, reconstruction, sprite: files, width, height, patch: f, rows, columns,
// state (0 kept, 1 drawn with the same result, 2 changed; uint8), best, drawn (uint32), bestP, drawnP,
// entropy (float32), these as base64, one entry per token; top: bits, codes, ramp: [[r, g, b], ...]},
// {sentence, offer: a checkpoint or null} if there is nothing to draw, or {} at first.
const { many, percent, unpack } = regvq, $ = regvq.finder(element);
const root = $(".rv-masks"), quad = $(".rv-quad"), tip = $(".rv-tip");
const views = [...element.querySelectorAll(".rv-view")];
let data = null, original = null, sheet = null, shown = -1, turn = 0;

const loaded = new Map();
async function load(file) {
  // The original and the sheet of tiles stay the same while a slider moves.
  if (!loaded.has(file.url)) {
    const picture = new Image();
    picture.src = file.url;
    loaded.set(file.url, picture);
    if (loaded.size > 8) loaded.delete(loaded.keys().next().value);
  }
  const picture = loaded.get(file.url);
  await picture.decode().catch(() => {});
  return picture;
}

// ---------------------------------------------------------------- drawing

function canvasOf(name) {
  const canvas = element.querySelector("[data-view=" + name + "] canvas");
  const width = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1));
  if (!width) return null;
  canvas.width = width;
  canvas.height = Math.round((width * data.height) / data.width);
  const pen = canvas.getContext("2d");
  const unit = (width * data.patch) / data.width;
  pen.place = (i) => {
    const x = i % data.columns, y = Math.floor(i / data.columns);
    const left = Math.round(x * unit), top = Math.round(y * unit);
    return [left, top, Math.round((x + 1) * unit) - left, Math.round((y + 1) * unit) - top];
  };
  return pen;
}
function draw() {
  if (!data) return;
  let pen = canvasOf("mask");
  if (!pen) return;
  const { width, height } = pen.canvas;
  pen.drawImage(original, 0, 0, width, height);
  data.state.forEach((state, i) => {
    if (!state) return;
    const [x, y, w, h] = pen.place(i);
    pen.fillStyle = "rgba(11,13,16,.86)";
    pen.fillRect(x, y, w, h);
    pen.fillStyle = "#2f8f95";
    const dot = Math.max(1, Math.round(w / 5));
    pen.fillRect(x + Math.floor((w - dot) / 2), y + Math.floor((h - dot) / 2), dot, dot);
  });
  pen = canvasOf("changed");
  pen.filter = "grayscale(1) brightness(.22)";
  pen.drawImage(original, 0, 0, width, height);
  pen.filter = "none";
  pen.imageSmoothingEnabled = false;
  data.state.forEach((state, i) => { if (state === 2) regvq.drawTile(pen, sheet, data.drawn[i], data.codes, data.patch, ...pen.place(i)); });
  pen = canvasOf("entropy");
  data.entropy.forEach((bits, i) => {
    pen.fillStyle = "rgb(" + regvq.onRamp(data.ramp, bits / data.top) + ")";
    pen.fillRect(...pen.place(i));
  });
}

async function update() {
  const value = props.value || {}, mine = ++turn;
  if (value.sentence) {
    data = null;
    $(".rv-refused p").textContent = value.sentence;
    const offer = $(".rv-offer");
    offer.hidden = !value.offer;
    offer.textContent = value.offer ? "Switch to " + value.offer : "";
    root.dataset.state = "refused";
    return;
  }
  if (!value.original) { root.dataset.state = "busy"; return; }
  const [base, picture, patches] = await Promise.all(
    [load(value.original), load(value.reconstruction), regvq.loadTiles(value)]);
  if (mine !== turn) return;
  original = base;
  sheet = patches;
  data = Object.assign({}, value, {
    state: unpack(value.state, Uint8Array),
    best: unpack(value.best, Uint32Array), drawn: unpack(value.drawn, Uint32Array),
    bestP: unpack(value.bestP, Float32Array), drawnP: unpack(value.drawnP, Float32Array),
    entropy: unpack(value.entropy, Float32Array),
  });
  element.style.setProperty("--ratio", data.width / data.height);
  const image = $("[data-view=reconstruction] img");
  image.src = picture.src;
  image.alt = "The picture decoded from these tokens";
  $(".rv-pixels").textContent = data.width + " × " + data.height + " pixels";
  $(".rv-top").textContent = data.top.toFixed(data.top % 1 ? 1 : 0) + " bits";
  $(".rv-legend u").style.background = regvq.gradient(data.ramp);
  root.dataset.state = "ready";
  root.dataset.drawn = data.state.reduce((sum, state) => sum + (state > 0), 0);
  draw();
  if (shown >= data.state.length) shown = -1;
  showToken(shown, null);
}

// ---------------------------------------------------------------- pointing and picking

function showToken(i, view) {
  shown = i;
  element.querySelectorAll(".rv-cursor").forEach((cursor) => {
    cursor.hidden = i < 0;
    if (i < 0) return;
    const x = i % data.columns, y = Math.floor(i / data.columns), f = data.patch;
    cursor.style.left = (100 * x * f) / data.width + "%";
    cursor.style.top = (100 * y * f) / data.height + "%";
    cursor.style.width = (100 * f) / data.width + "%";
    cursor.style.height = (100 * f) / data.height + "%";
  });
  if (i < 0) { tip.hidden = true; return; }
  const state = data.state[i];
  tip.querySelector("b").textContent = "Row " + Math.floor(i / data.columns) + ", column "
    + (i % data.columns) + (state === 0 ? ": kept" : state === 1 ? ": drawn, same code" : ": changed");
  $(".rv-was").textContent = "best: code " + data.best[i] + ", " + percent(data.bestP[i]);
  $(".rv-is").textContent = (state ? "drawn: code " : "draw (not used): code ") + data.drawn[i] + ", "
    + percent(data.drawnP[i]);
  $(".rv-bits").textContent = data.entropy[i].toFixed(1) + " bits, as among "
    + many(2 ** data.entropy[i], 0) + " codes";
  tip.querySelectorAll("canvas").forEach((canvas, k) => {
    regvq.showTile(canvas, sheet, k ? data.drawn[i] : data.best[i], data.codes, data.patch);
  });
  tip.hidden = false;
  const at = (view || tip.view || views[0]).querySelector(".rv-cursor").getBoundingClientRect();
  tip.view = view || tip.view;
  const frame = quad.getBoundingClientRect();
  regvq.placeTip(tip, frame.width, {
    x: at.left - frame.left + at.width / 2, y: at.top - frame.top, height: at.height,
  }, 8, 4);
}
function under(event) {
  const view = event.target.closest(".rv-view");
  const face = view && view.querySelector("canvas, img");
  if (!face || !data) return [-1, null];
  const box = face.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * (data.width / data.patch));
  const y = Math.floor(((event.clientY - box.top) / box.height) * (data.height / data.patch));
  const inside = x >= 0 && y >= 0 && x < data.columns && y < data.rows;
  return [inside ? y * data.columns + x : -1, view];
}
function pick(i) {
  if (i < 0) return;
  const code = data.state[i] ? data.drawn[i] : data.best[i];
  window.dispatchEvent(new CustomEvent("regvq-code", { detail: code }));
  trigger("pick", { index: code });
}

quad.addEventListener("pointermove", (event) => data && showToken(...under(event)));
quad.addEventListener("pointerleave", () => data && showToken(-1));
quad.addEventListener("blur", () => data && showToken(-1));
quad.addEventListener("click", (event) => {
  if (!data) return;
  const [i, view] = under(event);
  showToken(i, view);
  pick(i);
});
quad.addEventListener("keydown", (event) => {
  if (!data) return;
  const way = regvq.arrow(event), step = way && way[0] + way[1] * data.columns;
  if (event.key === "Escape") showToken(-1);
  else if (event.key === "Enter" || event.key === " ") pick(shown);
  else if (step) {
    const next = Math.max(0, shown) + (shown < 0 ? 0 : step);
    const same = Math.abs(step) > 1 || shown < 0
      || Math.floor(next / data.columns) === Math.floor(shown / data.columns);
    if (next >= 0 && next < data.state.length && same) showToken(next, null);
  } else return;
  event.preventDefault();
});
$(".rv-offer").addEventListener("click", () => trigger("offer", {}));

regvq.onResize(quad, draw);
watch("value", update);
update();
