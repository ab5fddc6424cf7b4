// The original beside what became of it, with a boundary that is dragged or moved by keys.
// props.value: {original, reconstruction, error, jpeg: files, tokens: {mean, patch, number: files}, width, height, grid, errorTop, ramp},
// {empty: true} without a picture, {problem: a sentence} with one that cannot be used, or {} at first.
const $ = (selector) => element.querySelector(selector);
const stage = $(".rv-stage"), frame = $(".rv-frame"), range = $(".rv-range");
const under = $(".rv-under"), over = $(".rv-over");
const NAMES = { reconstruction: "Reconstruction", tokens: "Tokens", error: "Error", jpeg: "JPEG" };
const choice = { layer: "reconstruction", colours: "mean" };
let turn = 0;

function place(percent) {
  range.value = percent;
  const at = Number(range.value);
  frame.style.setProperty("--at", at + "%");
  range.setAttribute("aria-valuetext", Math.round(at) + " % original");
  stage.dataset.position = at;
}

async function load(image, file) {
  const next = new Image();
  next.src = file.url;
  await next.decode().catch(() => {});
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
    return;
  }
  // All pictures are decoded before any is shown: nothing flickers, nothing is shown half.
  const tokens = value.tokens[choice.colours], layer = choice.layer;
  const swaps = await Promise.all([
    load(under, value.original), load(over, layer === "tokens" ? tokens : value[layer]),
    load($(".rv-tokens"), tokens), load($(".rv-error"), value.error),
  ]);
  if (mine !== turn) return;
  swaps.forEach((swap) => swap());
  element.style.setProperty("--ratio", value.width / value.height);
  under.alt = "The original picture";
  over.alt = layer === "jpeg" ? "The picture as JPEG" : "The picture rewritten with codes: " + NAMES[layer];
  over.classList.toggle("rv-pixelated", layer === "tokens");
  stage.dataset.layer = layer;
  $(".rv-tokens").alt = "Each token in the colour of its code";
  $(".rv-error").alt = "Where the reconstruction differs from the original";
  $(".rv-tag-right").textContent = NAMES[layer] + (layer === "jpeg" ? ", " + value.jpegBytes : "");
  $(".rv-size").textContent = value.width + " × " + value.height + " pixels";
  $(".rv-grid").textContent = value.grid;
  $(".rv-legend u").style.background = value.ramp;
  $(".rv-top").textContent = "≥ " + Math.round(100 * value.errorTop) + " %";
  stage.dataset.state = "ready";
  element.dataset.state = "ready";
}

function set(name, value, focus) {
  choice[name] = value;
  element.querySelectorAll("[data-choice=" + name + "] [role=radio]").forEach((button) => {
    const on = button.dataset.value === value;
    button.setAttribute("aria-checked", on);
    button.tabIndex = on ? 0 : -1;
    if (on && focus) button.focus();
  });
  draw();
}
element.querySelectorAll("[data-choice]").forEach((group) => {
  group.addEventListener("click", (event) => {
    const button = event.target.closest("[role=radio]");
    if (button) set(group.dataset.choice, button.dataset.value);
  });
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const values = [...group.querySelectorAll("[role=radio]")].map((button) => button.dataset.value);
    const now = values.indexOf(choice[group.dataset.choice]);
    set(group.dataset.choice, values[(now + step + values.length) % values.length], true);
  });
});
element.querySelectorAll("[data-layer]").forEach((panel) => {
  panel.addEventListener("click", () => set("layer", panel.dataset.layer));
});

function follow(event) {
  const box = frame.getBoundingClientRect();
  place((100 * (event.clientX - box.left)) / box.width);
}
frame.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  event.preventDefault();
  frame.setPointerCapture(event.pointerId);
  range.focus({ preventScroll: true });
  follow(event);
});
frame.addEventListener("pointermove", (event) => {
  if (frame.hasPointerCapture(event.pointerId)) follow(event);
});
range.addEventListener("input", () => place(range.value));

watch("value", draw);
place(50);
draw();
