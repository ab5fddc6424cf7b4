// Generated pictures, while they are unfinished and when they are done. props.value: {run, ratio,
// count, title, drawing: [data addresses], done, total, sketch: true while a map is generated first},
// then {..., pictures: [files], ids (uint32, as base64) of shape, figures, inpaint, sketched: true if there was a map}; {problem, none:
// a sentence}, {stopped: true}, or {empty: true}. With example: true it is a worked example, no run.
const { html } = regvq, $ = regvq.finder(element);
const root = $(".rv-results"), tiles = $(".rv-tiles"), runs = [];
let shown = null, current = null; // the number of the run, and the finished run with all its values

function setStatus(text) { $(".rv-results-status").textContent = text; }
function layOut(count, ratio) {
  root.style.setProperty("--ratio", ratio);
  root.style.setProperty("--columns", count === 1 ? 1 : count <= 4 ? 2 : 4);
  while (tiles.children.length > count) tiles.lastChild.remove();
  while (tiles.children.length < count) {
    const tile = html("figure", "rv-tile");
    tile.append(html("img"), html("div", "rv-tile-actions"));
    tile.firstChild.alt = "";
    tiles.append(tile);
  }
}
async function showPictures(addresses) {
  await Promise.all(addresses.map(regvq.loadImage));
  addresses.forEach((address, i) => { if (tiles.children[i]) tiles.children[i].firstChild.src = address; });
}
function summary(f) {
  const last = f.seeds[f.seeds.length - 1];
  const parts = [last === f.seed ? "seed " + f.seed : "seeds " + f.seed + " to " + last];
  parts.push("guidance " + Number(f.guidance.toFixed(2)));
  if (f.temperature !== 1) parts.push("temperature " + Number(f.temperature.toFixed(2)));
  if (f.top_k) parts.push("top-k " + f.top_k);
  if (f.top_p < 1) parts.push("top-p " + Number(f.top_p.toFixed(2)));
  if (f.steps) parts.push(f.steps + " steps");
  if (f.tokens_repainted) parts.push(f.tokens_repainted + " tokens inpainted");
  if (f.seconds !== undefined) parts.push(f.seconds.toFixed(1) + " s");
  return f.prior + ": " + parts.join(", ") + ".";
}
function agreement(figures) {
  const found = figures.agreement;
  if (!found) return "";
  let text = " A segmenter recognizes " + Math.round(100 * found.pixel_accuracy) + " % of the map in these pictures, mean IoU "
    + found.mean_iou.toFixed(2);
  if (typeof found.segmenter_mean_iou === "number") text += " (" + found.segmenter_mean_iou.toFixed(2) + " on real pictures)";
  return text + ".";
}

async function finish(value) {
  shown = value.run;
  layOut(value.pictures.length, value.ratio);
  await showPictures(value.pictures.map((file) => file.url));
  if (shown !== value.run) return;
  const about = value.figures.prompt || value.title.toLowerCase();
  [...tiles.children].forEach((tile, i) => {
    tile.firstChild.alt = "Picture " + (i + 1) + ": " + about;
    const actions = tile.lastChild;
    actions.replaceChildren();
    const seed = html("span", "rv-tag", "Seed " + value.figures.seeds[i]);
    seed.title = "To get only this picture, enter its seed and generate 1 picture";
    actions.append(seed);
    const each = value.figures.agreement && value.figures.agreement.each;
    if (each) actions.append(html("span", "rv-tag", Math.round(100 * each[i]) + " % agreement"));
    function act(name, word, label) {
      const button = html("button", "", word);
      button.type = "button";
      button.setAttribute("aria-label", label + (i + 1));
      button.addEventListener("click", () => trigger(name, { run: value.run, index: i }));
      actions.append(button);
    }
    if (value.sketched) act("sketch", "Use its map", "Use the map of picture ");
    if (value.inpaint) act("inpaint", "Inpaint", "Inpaint a part of picture ");
    const link = html("a", "", "Save");
    link.href = value.pictures[i].url;
    link.download = "seed-" + value.figures.seeds[i] + ".png";
    link.setAttribute("aria-label", "Save picture " + (i + 1));
    actions.append(link);
  });
  setStatus((value.example ? "An example, generated before: “" + about + "”. " : "") + summary(value.figures) + agreement(value.figures) + (value.figures.note ? " " + value.figures.note : ""));
  current = value;
  $(".rv-saves").hidden = false;
  $("[data-save=png]").hidden = value.pictures.length < 2; // a single one has its own button
  root.dataset.state = value.example ? "example" : "done";
  root.dataset.run = value.run;
}
function saveSheet() {
  const images = [...tiles.children].map((tile) => tile.firstChild), columns = images.length <= 4 ? 2 : 4;
  const { naturalWidth: width, naturalHeight: height } = images[0], sheet = html("canvas");
  sheet.width = columns * width;
  sheet.height = Math.ceil(images.length / columns) * height;
  images.forEach((image, i) => sheet.getContext("2d").drawImage(image, (i % columns) * width, Math.floor(i / columns) * height));
  sheet.toBlob((file) => regvq.save(file, "pictures.png"));
}
function saveTokens(kind) {
  const { ids, shape, figures } = current, flat = regvq.unpack(ids, Uint32Array), [n, rows, columns] = shape;
  if (kind === "npy") { regvq.save(regvq.npy(flat, shape), "tokens.npy"); return; }
  const row = (i) => [...flat.subarray(i * columns, (i + 1) * columns)];
  const grids = Array.from({ length: n }, (_, i) => Array.from({ length: rows }, (_, r) => row(i * rows + r)));
  regvq.save(new Blob([JSON.stringify({ rows, columns, ids: grids, figures })]), "tokens.json");
}
$(".rv-saves").addEventListener("click", (event) => {
  const button = event.target.closest("[data-save]");
  if (!button || !current) return;
  if (button.dataset.save === "png") saveSheet(); else saveTokens(button.dataset.save);
});
function showEarlier() {
  $(".rv-earlier").hidden = runs.length < 2;
  $(".rv-earlier-strip").replaceChildren(...runs.slice().reverse().map((value) => {
    const card = html("div", "rv-earlier-card"), look = html("button", "rv-earlier-look");
    look.type = "button";
    look.setAttribute("aria-label", "Show again: " + (value.figures.prompt || value.title) + ", seed " + value.figures.seed);
    look.append(...value.pictures.slice(0, 4).map((file) => {
      const image = html("img");
      image.src = file.url;
      image.alt = "";
      return image;
    }));
    look.addEventListener("click", () => finish(value));
    const again = html("button", "rv-earlier-again", "Restore seed " + value.figures.seed);
    again.type = "button";
    again.title = "Restore this run's prior, prompt or map, seed and settings";
    again.addEventListener("click", () => trigger("restore", { run: value.run, index: 0 }));
    card.append(look, again);
    return card;
  }));
}

// How far the run is; before its first step, which may have to load the prior, for how long.
let began = 0, step = null;
function tell() {
  if (root.dataset.state !== "drawing" || !step) return;
  const seconds = Math.round((Date.now() - began) / 1000);
  if (!step.done) {
    setStatus(seconds < 2 ? "Starting…" : "Starting, " + seconds + " s: the prior is read when it is first used.");
    return;
  }
  const left = Math.round((seconds * (step.total - step.done)) / step.done);
  setStatus("Step " + step.done + " of " + step.total + (left > 2 ? ", about " + left + " s left" : "")
    + (step.sketch ? ": the semantic map, generated first." : ": each token is shown as its code's tile."));
}
setInterval(() => { if (step && !step.done) tell(); }, 1000);

async function draw() {
  const value = props.value || {};
  const message = value.problem || value.none || "";
  if (value.example && ["drawing", "done", "stopped"].includes(root.dataset.state)) return;
  if (message || (value.empty && !["drawing", "done", "stopped"].includes(root.dataset.state))) {
    // Earlier pictures stay; the sentence is above them.
    const blank = !tiles.children.length || value.none || ["drawing", "example"].includes(root.dataset.state);
    if (blank) $(".rv-saves").hidden = true;
    if (blank) {
      tiles.replaceChildren();
      root.dataset.state = value.none ? "none" : message ? "problem" : "empty";
      $(".rv-results-message p").textContent = message || "No pictures yet. Choose an example or start with your own, then press Generate.";
      setStatus("");
    } else if (message) setStatus(message);
    root.dataset.problem = message;
    return;
  }
  root.dataset.problem = "";
  if (value.stopped) {
    if (root.dataset.state === "drawing") { root.dataset.state = "stopped"; setStatus("Stopped. The unfinished pictures stay until the next run."); }
    return;
  }
  if (value.example) { await finish(value); return; }
  if (value.pictures) {
    if (!runs.some((one) => one.run === value.run)) runs.push(value);
    if (runs.length > 8) runs.shift();
    await finish(value);
    showEarlier();
    return;
  }
  if (value.drawing) {
    shown = value.run;
    layOut(value.count, value.ratio);
    if (!value.drawing.length) for (const tile of tiles.children) { tile.firstChild.removeAttribute("src"); tile.lastChild.replaceChildren(); }
    root.dataset.state = "drawing";
    $(".rv-saves").hidden = true;
    root.dataset.updates = value.done ? Number(root.dataset.updates || 0) + 1 : 0;
    $(".rv-results-bar u").style.width = (100 * value.done) / value.total + "%";
    if (!value.done) began = Date.now();
    step = value;
    tell();
    await showPictures(value.drawing);
  }
}
watch("value", draw);
draw();
