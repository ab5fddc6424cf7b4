// A search for codes: by number, by color, by a patch of a picture, or by class. props.value: {by,
// value, sentence, found: [{code, note, tile: data address}]}; {problem: a sentence}; {material:
// {picture: file, width, height, rows, columns, patch, classes}}, on request; or {} at first.
const $ = regvq.finder(element);
const root = $(".rv-find"), words = $(".rv-find-words"), list = $(".rv-find-list");
const frame = $(".rv-find-frame"), mark = $(".rv-find-frame .rv-cursor");
let by = "number", material = null, stale = true, own = null, at = null, asked = 0;

function say(text, state) {
  words.textContent = text;
  words.hidden = !text;
  root.dataset.state = state;
}

// ---------------------------------------------------------------- asking

let waiting = 0;
function ask(name, detail) {
  asked = Date.now();
  root.dataset.state = "busy";
  trigger(name, own && by === "patch" ? { ...detail, path: own } : detail);
  clearInterval(waiting);
  waiting = setInterval(() => { // Gradio's own display of the progress is hidden
    if (root.dataset.state !== "busy") { clearInterval(waiting); return; }
    const seconds = Math.round((Date.now() - asked) / 1000);
    if (seconds >= 2) say((regvq.progressOf(element) || "Searching") + ", " + seconds + " s", "busy");
  }, 500);
}
function find(value) { ask(by === "class" ? "count" : "find", { by, value }); }
function needMaterial() {
  if (stale && (by === "patch" || by === "class")) ask("material", {});
}

// ---------------------------------------------------------------- the ways to search

const show = regvq.choices(element, (name, value) => {
  by = root.dataset.by = value;
  show.by(value);
  element.querySelectorAll("[data-way]").forEach((way) => { way.hidden = way.dataset.way !== by; });
  list.replaceChildren();
  say("", "idle");
  needMaterial();
});
element.querySelectorAll("form[data-way]").forEach((form) => form.addEventListener("submit", (event) => {
  event.preventDefault();
  find(form.elements[0].value);
}));
$("[name=color]").addEventListener("change", (event) => find(event.target.value));
$("[name=class]").addEventListener("change", (event) => find(event.target.value));

function cover([row, column]) {
  const { width, height, patch } = material;
  mark.style.left = (100 * column * patch) / width + "%";
  mark.style.top = (100 * row * patch) / height + "%";
  mark.style.width = (100 * patch) / width + "%";
  mark.style.height = (100 * patch) / height + "%";
  mark.hidden = false;
  at = [row, column];
}
frame.addEventListener("click", (event) => {
  if (!material) return;
  const box = frame.getBoundingClientRect(), { width, height, patch, rows, columns } = material;
  const column = Math.floor((((event.clientX - box.left) / box.width) * width) / patch);
  const row = Math.floor((((event.clientY - box.top) / box.height) * height) / patch);
  cover([Math.max(0, Math.min(rows - 1, row)), Math.max(0, Math.min(columns - 1, column))]);
  find(at);
});
frame.addEventListener("keydown", (event) => {
  if (!material) return;
  const step = regvq.arrow(event), { rows, columns } = material;
  if (step) {
    const [row, column] = at || [Math.floor(rows / 2), Math.floor(columns / 2)];
    cover([Math.max(0, Math.min(rows - 1, row + step[1])), Math.max(0, Math.min(columns - 1, column + step[0]))]);
  } else if (event.key === "Enter" && at) find(at);
  else return;
  event.preventDefault();
});
$("[data-do=upload]").addEventListener("click", () => $("input[type=file]").click());
$("input[type=file]").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  event.target.value = "";
  if (!file) return;
  say("The picture is being sent …", "busy");
  let sent = null;
  try { sent = await upload(file); } catch (refused) { /* the next line says so */ }
  if (!sent || !sent.path) { say("The picture could not be sent: it may be too large.", "problem"); return; }
  own = sent.path;
  ask("material", {});
});

// ---------------------------------------------------------------- answers

function showMaterial(given) {
  material = given;
  stale = false;
  at = null;
  mark.hidden = true;
  const image = frame.querySelector("img");
  image.src = given.picture.url;
  image.alt = "The picture, " + given.rows + " × " + given.columns + " tokens";
  const select = $("[name=class]"), before = select.value;
  select.replaceChildren(...given.classes.map((name) => {
    const option = regvq.html("option", "", name);
    option.value = name;
    return option;
  }));
  if (given.classes.includes(before)) select.value = before;
  list.replaceChildren();
  say("", "idle");
}
function select(code) {
  list.querySelectorAll("button").forEach((button) =>
    button.setAttribute("aria-pressed", Number(button.dataset.code) === code));
}
function update() {
  const value = props.value || {};
  if (value.material) { showMaterial(value.material); return; }
  if (value.problem) { list.replaceChildren(); say(value.problem, "problem"); return; }
  if (!value.found || value.by !== by) return;
  list.replaceChildren(...value.found.map(({ code, note, tile }) => {
    const button = regvq.html("button"), image = regvq.html("img", "rv-pixelated");
    button.type = "button";
    button.dataset.code = code;
    button.setAttribute("aria-label", "Code " + code + (note ? ", " + note : ""));
    image.src = tile;
    image.alt = "";
    button.append(image, regvq.html("b", "", code));
    if (note) button.append(regvq.html("span", "", note));
    return button;
  }));
  say(value.by === "number" ? "" : value.sentence, "ready");
  if (value.found.length && value.by !== "color" && value.by !== "class") pick(value.found[0].code);
}
function pick(code) {
  select(code);
  trigger("pick", { index: code });
}
list.addEventListener("click", (event) => {
  const button = event.target.closest("[data-code]");
  if (button) pick(Number(button.dataset.code));
});

window.addEventListener("regvq-code", (event) => select(event.detail));
// Another checkpoint or picture was chosen: the list is that of the previous one.
document.addEventListener("rv-changed", ({ detail }) => {
  if (!detail.tab && !detail.opened) {
    stale = true;
    list.replaceChildren();
    say("", "idle");
  }
  if (element.offsetParent) needMaterial();
});
watch("value", update);
update();
