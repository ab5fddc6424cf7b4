// Small quantizers in training, side by side; asks for more steps for as long as it plays.
// props.value: {lab: which, step, steps, size, stamp, runs: [{name, latents (N x 2, float32), codes
// (K x 2, float32), ids (N, uint16), these as base64, used, perplexity, loss}]}, or {} at first.
const $ = (selector) => element.querySelector(selector);
const root = $(".rv-lab"), runs = $(".rv-runs"), play = $(".rv-play");
const colour = (name) => getComputedStyle(element).getPropertyValue("--rv-" + name).trim();
const INKS = { light: ["#0b6a70", "#a8480e", "#6a3fa0", "#3f6d1f"], dark: ["#5cc9cb", "#f0a35e", "#c3a2f2", "#a5d06f"] };
const ink = (n) => INKS[document.body.classList.contains("dark") ? "dark" : "light"][n % 4];
let data = null, history = [], playing = false, asked = -Infinity;

function unpack(text, Kind) {
  return new Kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}
function ask(reset) {
  // An answer that never comes must not stop the page for good.
  if (!reset && performance.now() - asked < 20000) return;
  asked = performance.now();
  trigger(reset ? "again" : "tick", {});
}
function go(on) {
  playing = on;
  play.textContent = on ? "Pause" : data && data.step >= data.steps ? "Done" : "Play";
  play.disabled = Boolean(data && data.step >= data.steps);
  play.setAttribute("aria-pressed", on);
  root.dataset.playing = on;
  if (on) ask();
}

// ---------------------------------------------------------------- drawing

function build() {
  runs.replaceChildren(...data.runs.map((run, n) => {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    figure.className = "rv-run";
    figure.innerHTML = '<div class="rv-plate"><canvas role="img"></canvas></div>';
    figure.querySelector("canvas").setAttribute("aria-label", "Latents and codes of " + run.name);
    const name = document.createElement("b"), words = document.createElement("span");
    name.textContent = run.name;
    caption.append(name, words);
    figure.append(caption);
    return figure;
  }));
}
function drawRun(run, figure, n) {
  const canvas = figure.querySelector("canvas"), dpr = window.devicePixelRatio || 1;
  const side = canvas.clientWidth, tall = canvas.clientHeight;
  if (!side) return;
  canvas.width = side * dpr;
  canvas.height = tall * dpr;
  const pen = canvas.getContext("2d");
  pen.scale(dpr, dpr);
  // The window follows the latents, and the codes near them: a code far off shows at the edge.
  let reach = 0.2;
  const sorted = run.latents.map(Math.abs).sort();
  reach = Math.max(reach, 1.5 * sorted[Math.floor(0.98 * sorted.length)]);
  run.reach = figure.reach = figure.reach ? figure.reach + 0.25 * (reach - figure.reach) : reach;
  const scale = Math.min(side, tall) / 2 / run.reach;
  const X = (x) => Math.max(5, Math.min(side - 5, side / 2 + x * scale));
  const Y = (y) => Math.max(5, Math.min(tall - 5, tall / 2 - y * scale));
  const alive = new Uint8Array(run.codes.length / 2);
  run.ids.forEach((id) => { alive[id] = 1; });
  pen.strokeStyle = "rgba(217,214,206,.13)";
  pen.beginPath();
  run.ids.forEach((id, i) => {
    pen.moveTo(X(run.latents[2 * i]), Y(run.latents[2 * i + 1]));
    pen.lineTo(X(run.codes[2 * id]), Y(run.codes[2 * id + 1]));
  });
  pen.stroke();
  pen.fillStyle = "rgba(217,214,206,.5)";
  for (let i = 0; i < run.ids.length; i++) pen.fillRect(X(run.latents[2 * i]) - 1, Y(run.latents[2 * i + 1]) - 1, 2, 2);
  for (let k = 0; k < alive.length; k++) {
    const x = X(run.codes[2 * k]), y = Y(run.codes[2 * k + 1]);
    pen.beginPath();
    if (alive[k]) {
      pen.arc(x, y, 4, 0, 7);
      pen.fillStyle = INKS.dark[n % 4]; pen.fill();
      pen.strokeStyle = "#0b0d10"; pen.lineWidth = 1; pen.stroke();
    } else {
      pen.moveTo(x - 3, y - 3); pen.lineTo(x + 3, y + 3); pen.moveTo(x + 3, y - 3); pen.lineTo(x - 3, y + 3);
      pen.strokeStyle = "#8b93a0"; pen.lineWidth = 1.3; pen.stroke();
    }
  }
  figure.querySelector("figcaption span").textContent = Math.round(100 * run.used) + " % in use, perplexity "
    + run.perplexity.toFixed(1) + ", error " + run.loss.toPrecision(2);
}
function drawCurve(canvas) {
  const key = canvas.dataset.curve, dpr = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !data) return;
  canvas.width = width * dpr;
  canvas.height = height * dpr;
  const pen = canvas.getContext("2d");
  pen.scale(dpr, dpr);
  pen.font = "11px " + getComputedStyle(element).fontFamily;
  const left = 34, right = 74, top = 8, bottom = 22, most = key === "used" ? 100 : data.size;
  const last = Math.max(100, data.step);
  const X = (step) => left + ((width - left - right) * step) / last;
  const Y = (value) => top + (height - top - bottom) * (1 - value / most);
  pen.lineWidth = 1;
  for (let n = 0; n <= 2; n++) {
    const value = (most * n) / 2;
    pen.strokeStyle = colour("line");
    pen.beginPath(); pen.moveTo(left, Y(value)); pen.lineTo(width - right, Y(value)); pen.stroke();
    pen.fillStyle = colour("ink-soft");
    pen.textAlign = "right"; pen.textBaseline = "middle";
    pen.fillText(String(value), left - 7, Y(value));
  }
  pen.textAlign = "left"; pen.textBaseline = "top";
  pen.fillText("0", left, height - bottom + 7);
  pen.textAlign = "right";
  pen.fillText(last.toLocaleString("en"), width - right, height - bottom + 7);
  const ends = [];
  data.runs.forEach((run, n) => {
    const value = (entry) => (key === "used" ? 100 : 1) * entry[key][n];
    pen.strokeStyle = ink(n);
    pen.lineWidth = 2;
    pen.lineJoin = "round";
    pen.beginPath();
    history.forEach((entry, i) => (i ? pen.lineTo(X(entry.step), Y(value(entry))) : pen.moveTo(X(entry.step), Y(value(entry)))));
    pen.stroke();
    if (history.length) ends.push({ n, name: run.name, y: Y(value(history[history.length - 1])) });
  });
  // Each curve bears its name; names that would lie on one another move apart.
  ends.sort((a, b) => a.y - b.y).forEach((end, i) => { if (i) end.y = Math.max(end.y, ends[i - 1].y + 13); });
  const over = ends.length ? Math.max(0, ends[ends.length - 1].y - (height - bottom)) : 0;
  pen.textAlign = "left"; pen.textBaseline = "middle";
  ends.forEach((end) => {
    pen.fillStyle = ink(end.n);
    pen.fillText(end.name.replace("Reg-VQ without", "without"), X(data.step) + 7, end.y - over);
  });
}
function draw() {
  if (!data) return;
  [...runs.children].forEach((figure, n) => drawRun(data.runs[n], figure, n));
  element.querySelectorAll("[data-curve]").forEach(drawCurve);
}

function take() {
  const value = props.value || {};
  asked = -Infinity;
  if (!value.runs) return;
  const other = !data || data.lab !== value.lab;
  data = { ...value, runs: value.runs.map((run) => ({
    ...run, latents: unpack(run.latents, Float32Array), codes: unpack(run.codes, Float32Array), ids: unpack(run.ids, Uint16Array),
  })) };
  if (other) { history = []; build(); }
  history.push({ step: data.step, used: data.runs.map((run) => run.used), perplexity: data.runs.map((run) => run.perplexity) });
  $(".rv-size").textContent = "step " + data.step.toLocaleString("en") + " of " + data.steps.toLocaleString("en");
  root.dataset.state = "ready";
  root.dataset.step = data.step;
  draw();
  if (data.step >= data.steps) go(false);
  else if (playing && element.offsetParent !== null) ask();
}

play.addEventListener("click", () => go(!playing));
$(".rv-again").addEventListener("click", () => { ask(true); go(true); });
let met = false;
new IntersectionObserver((seen) => {
  if (!seen.some((entry) => entry.isIntersecting)) return;
  if (!met) {
    // The first look starts it, unless the visitor wants nothing to move by itself.
    met = true;
    if (window.matchMedia("(prefers-reduced-motion: reduce)").matches) ask(true); else { ask(true); go(true); }
  } else if (playing) ask();
}).observe(root);
new ResizeObserver(() => requestAnimationFrame(draw)).observe(runs);
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
watch("value", take);
take();
