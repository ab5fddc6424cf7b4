// The original beside its reconstruction, with a boundary that is dragged or moved by keys.
// props.value: {original, reconstruction, error, jpeg, sprite: files, tokens: {mean, patch, number:
// files}, width, height, grid, errorTop, ramp, rows, columns, patch: f, codes, ids (uint32, as
// base64), tiles of the picture's codes if sprite is null, note: a sentence, edited: [[row, column], ...]}; error and jpeg follow when the picture has been compared
// with its original. {empty: true} without a picture, {problem: a sentence} for an unusable one,
// {} at first.
const $ = regvq.finder(element);
const stage = $(".rv-stage"), frame = $(".rv-frame"), range = $(".rv-range");
const under = $(".rv-under"), over = $(".rv-over");
const NAMES = { reconstruction: "Reconstruction", tokens: "Tokens", error: "Error", jpeg: "JPEG" };
const choice = { layer: "reconstruction", colors: "mean" };
let turn = 0, drawn = 0; // the latest draw that was started, the latest one that is visible

function place(percent) {
  range.value = percent;
  const at = Number(range.value);
  frame.style.setProperty("--at", at + "%");
  range.setAttribute("aria-valuetext", Math.round(at) + " % original");
  stage.dataset.position = at;
}

// Decode a file; the returned function shows it.
async function load(image, file) {
  await regvq.loadImage(file.url);
  return () => { if (image.getAttribute("src") !== file.url) image.src = file.url; };
}

async function draw() {
  const value = props.value || {};
  const mine = ++turn;
  if (!value.original) {
    stage.dataset.state = value.problem ? "problem" : value.empty ? "empty" : "busy";
    element.dataset.state = stage.dataset.state;
    $(".rv-problem p").textContent = value.problem || "";
    $(".rv-size").textContent = "";
    $(".rv-saves").hidden = true;
    drawn = mine;
    return;
  }
  // All pictures are decoded before any is shown, so that they change together.
  const grid = value.tokens[choice.colors], layer = choice.layer;
  const upper = layer === "tokens" ? grid : value[layer];
  if (!upper) return; // it follows with the figures
  const swaps = await Promise.all([
    load(under, value.original), load(over, upper), load($(".rv-tokens"), grid),
    ...(value.error ? [load($(".rv-error"), value.error)] : []),
  ]);
  if (mine < drawn) return;
  drawn = mine;
  swaps.forEach((swap) => swap());
  if (!value.error && (!tokens || tokens.original.url !== value.original.url)) {
    $(".rv-error").removeAttribute("src"); // the error of another picture
  }
  element.style.setProperty("--ratio", value.width / value.height);
  under.alt = "The original picture";
  over.alt = layer === "jpeg" ? "The picture as JPEG" : "The picture encoded with codes: " + NAMES[layer];
  over.classList.toggle("rv-pixelated", layer === "tokens");
  stage.dataset.layer = layer;
  $(".rv-tokens").alt = "Each token in the color of its code";
  $(".rv-error").alt = "The difference between the reconstruction and the original";
  $(".rv-tag-right").textContent = NAMES[layer] + (layer === "jpeg" ? ", " + value.jpegBytes : "");
  $(".rv-size").textContent = value.width + " × " + value.height + " pixels";
  $(".rv-grid").textContent = value.grid;
  showTokens(value);
  $(".rv-saves").hidden = false;
  $(".rv-legend u").style.background = value.ramp;
  $(".rv-top").textContent = "≥ " + Math.round(100 * value.errorTop) + " %";
  element.dataset.state = stage.dataset.state = value.error ? "ready" : "partial";
}

function set(name, value) {
  choice[name] = value;
  show[name](value);
  draw();
}
const show = regvq.choices(element, set);
element.querySelectorAll("[data-layer]").forEach((panel) => {
  panel.addEventListener("click", () => set("layer", panel.dataset.layer));
});

// ---------------------------------------------------------------- saving

element.querySelectorAll("[data-save]").forEach((button) => button.addEventListener("click", () => {
  const kind = button.dataset.save, { rows, columns, ids, edited, codes } = tokens;
  if (kind === "png") regvq.save(tokens.reconstruction.url, "reconstruction.png");
  if (kind === "npy") regvq.save(regvq.npy(ids, [rows, columns]), "tokens.npy");
  if (kind === "json") {
    const grid = Array.from({ length: rows }, (_, row) => [...ids.subarray(row * columns, (row + 1) * columns)]);
    regvq.save(new Blob([JSON.stringify({ rows, columns, codes, ids: grid, edited })]), "tokens.json");
  }
}));

// ---------------------------------------------------------------- tokens

const tip = $(".rv-tip"), pointed = $(".rv-pointed"), kept = $(".rv-kept");
let tokens = null, sheet = null;

function cover(box, row, column) {
  const f = tokens.patch;
  box.style.left = (100 * column * f) / tokens.width + "%";
  box.style.top = (100 * row * f) / tokens.height + "%";
  box.style.width = (100 * f) / tokens.width + "%";
  box.style.height = (100 * f) / tokens.height + "%";
  box.hidden = false;
  return box;
}
function showTokens(value) {
  const changed = !tokens || tokens.original.url !== value.original.url;
  tokens = { ...value, ids: regvq.unpack(value.ids, Uint32Array) };
  stage.dataset.edited = value.edited.length;
  $(".rv-edits").replaceChildren(...value.edited.map(([row, column]) => cover(regvq.html("i"), row, column)));
  if (changed) { pointed.hidden = kept.hidden = tip.hidden = true; }
  $(".rv-large").textContent = value.note || "";
  $(".rv-large").hidden = !value.note;
  if (value.sprite) {
    if (sheet && sheet.src === value.sprite.url) return;
    sheet = new Image();
    sheet.src = value.sprite.url;
  } else {
    sheet = regvq.tileStore(value.patch);
    sheet.add(value.tiles);
  }
}
function tokenUnder(event) {
  const box = frame.getBoundingClientRect();
  const column = Math.floor((((event.clientX - box.left) / box.width) * tokens.width) / tokens.patch);
  const row = Math.floor((((event.clientY - box.top) / box.height) * tokens.height) / tokens.patch);
  return row >= 0 && column >= 0 && row < tokens.rows && column < tokens.columns ? [row, column] : null;
}
function point(event) {
  const at = tokens && event.pointerType !== "touch" ? tokenUnder(event) : null;
  pointed.hidden = tip.hidden = !at;
  if (!at) return;
  const [row, column] = at, code = tokens.ids[row * tokens.columns + column];
  cover(pointed, row, column);
  tip.querySelector("b").textContent = "Code " + code;
  tip.querySelector("span").textContent = "row " + row + ", column " + column + "; click for details";
  regvq.showTile(tip.querySelector("canvas"), sheet, code, tokens.codes, tokens.patch);
  const plate = $(".rv-plate").getBoundingClientRect(), box = pointed.getBoundingClientRect();
  regvq.placeTip(tip, plate.width, {
    x: box.left - plate.left + box.width / 2, y: box.top - plate.top, height: box.height,
  });
}
window.addEventListener("regvq-token", (event) => {
  if (!event.detail) kept.hidden = true;
  else if (tokens) cover(kept, event.detail.row, event.detail.column);
});

function follow(event) {
  const box = frame.getBoundingClientRect();
  place((100 * (event.clientX - box.left)) / box.width);
}
// A drag moves the boundary, a click opens the token under it.
let pressed = null;
frame.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  event.preventDefault();
  frame.setPointerCapture(event.pointerId);
  range.focus({ preventScroll: true });
  pressed = { x: event.clientX, y: event.clientY, moved: false };
});
frame.addEventListener("pointermove", (event) => {
  if (!pressed) { point(event); return; }
  if (Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > 4) pressed.moved = true;
  if (!pressed.moved) return;
  pointed.hidden = tip.hidden = true;
  follow(event);
});
frame.addEventListener("pointerup", (event) => {
  const at = pressed && !pressed.moved && tokens ? tokenUnder(event) : null;
  pressed = null;
  if (!at) return;
  cover(kept, ...at);
  trigger("token", { row: at[0], column: at[1] });
});
frame.addEventListener("pointercancel", () => { pressed = null; });
frame.addEventListener("pointerleave", () => { pointed.hidden = tip.hidden = true; });
range.addEventListener("input", () => place(range.value));

watch("value", draw);
place(50);
draw();
