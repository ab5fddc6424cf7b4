// Small quantizers in training, side by side; asks for more steps for as long as it plays.
// props.value: {kind, lab: which, step, steps, size, weights, number: of the request, original and
// apart (pictures), runs: [{name, watch, used, perplexity, and what onPoints or onPictures draws, as
// base64}]}, {sentence, number} where something is refused, or {} at first.
const $ = (selector) => element.querySelector(selector);
const root = $(".rv-lab"), runs = $(".rv-runs"), play = $(".rv-play");
const colour = (name) => getComputedStyle(element).getPropertyValue("--rv-" + name).trim();
// A quantizer keeps its colour whoever stands beside it: (light, dark).
const INKS = {
  "VQ": ["#5d6470", "#b4bcc8"], "EMA": ["#6b6700", "#d6cf5e"], "Gumbel": ["#a3327a", "#ee8fc6"],
  "Reg-VQ": ["#0b6a70", "#5cc9cb"], "Reg-VQ without prior": ["#2463a8", "#86b8f2"],
  "Reg-VQ without mask": ["#43700f", "#a5d06f"], "SimVQ": ["#6a3fa0", "#c3a2f2"], "NSVQ": ["#a8480e", "#f0a35e"],
};
const WOKEN = "#f4f2ec", DIED = "#ff7a5c";
const CALLED = { rate: "rate", prior: "prior", mask: "mask", temperature: "temp.", alpha: "alpha" };
const PATIENCE = 30000;
const ink = (run) => INKS[run.name][document.body.classList.contains("dark") ? 1 : 0];
let data = null, way = null, history = [], marks = [], playing = false, met = false, held = false, queued = 0;
let number = 0, waiting = 0, asked = 0;

function unpack(text, Kind) {
  return new Kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}
function penOn(canvas) {
  const dpr = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return null;
  canvas.width = width * dpr;
  canvas.height = height * dpr;
  const pen = canvas.getContext("2d");
  pen.scale(dpr, dpr);
  return { pen, width, height };
}
const ended = () => Boolean(data && data.step >= data.steps);

// One request at a time; only the answer to the last one asks for the next.
function ask(how) {
  if (how === "tick" && waiting && performance.now() - asked < PATIENCE) return;
  waiting = ++number;
  asked = performance.now();
  trigger(how, { number });
}
function go(on) {
  playing = on && !ended();
  play.textContent = playing ? "Pause" : ended() ? "Done" : "Play";
  play.disabled = ended();
  play.setAttribute("aria-pressed", playing);
  root.dataset.playing = playing;
  if (playing) ask("tick");
  else say();
}
function say() {
  if (!data) return;
  $(".rv-lab-said").textContent = (ended() ? "Done at step " : "Paused at step ") + data.step + ". "
    + data.runs.map((run) => run.name + ": " + way.words(run) + ", perplexity " + run.perplexity.toFixed(1)).join(". ");
}

// ---------------------------------------------------------------- drawing

function build() {
  root.dataset.kind = data.kind;
  root.toggleAttribute("data-apart", data.apart);
  root.dataset.many = data.runs.length > 4 ? "many" : "few";
  $(".rv-lab-top").hidden = data.kind !== "pictures";
  runs.replaceChildren(...data.runs.map((run, n) => {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    figure.className = "rv-run";
    figure.innerHTML = way.plates;
    const dot = document.createElement("i"), name = document.createElement("b"), words = document.createElement("span");
    const watched = document.createElement("p");
    watched.className = "rv-watch";
    watched.setAttribute("aria-live", "polite");
    watched.textContent = run.watch;
    name.textContent = run.name;
    name.prepend(dot);
    caption.append(name, words);
    figure.prepend(caption);
    figure.append(watched);
    if (way.listen) way.listen(figure, n);
    return figure;
  }));
}
function drawCurve(canvas) {
  const key = canvas.dataset.curve, found = data && penOn(canvas);
  if (!found || data.runs[0][key] === undefined) return;
  const { pen, width, height } = found;
  pen.font = "11px " + getComputedStyle(element).fontFamily;
  const left = 30, right = 92, top = 14, bottom = 22, last = Math.max(60, data.step);
  const values = history.flatMap((entry) => entry[key]);
  const least = key === "psnr" ? Math.floor(Math.min(...values)) : 0;
  const most = key === "used" ? 100 : key === "psnr" ? Math.max(least + 4, Math.ceil(Math.max(...values))) : data.size;
  const X = (step) => left + ((width - left - right) * step) / last;
  const Y = (value) => top + (height - top - bottom) * (1 - (value - least) / (most - least));
  pen.lineWidth = 1;
  for (let n = 0; n <= 2; n++) {
    const value = least + ((most - least) * n) / 2;
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
  // Where a weight was changed while it ran.
  pen.setLineDash([3, 3]);
  marks.forEach((mark, i) => {
    pen.strokeStyle = colour("ink-soft");
    pen.beginPath(); pen.moveTo(X(mark.step), top); pen.lineTo(X(mark.step), height - bottom); pen.stroke();
    const next = i + 1 < marks.length ? X(marks[i + 1].step) : width - right;
    if (next - X(mark.step) < pen.measureText(mark.words).width + 6) return;
    pen.fillStyle = colour("ink-soft");
    pen.textAlign = "left"; pen.textBaseline = "bottom";
    pen.fillText(mark.words, X(mark.step) + 3, top);
  });
  pen.setLineDash([]);
  const ends = [];
  data.runs.forEach((run, n) => {
    pen.strokeStyle = ink(run);
    pen.lineWidth = 2;
    pen.lineJoin = "round";
    pen.beginPath();
    history.forEach((entry, i) => (i ? pen.lineTo(X(entry.step), Y(entry[key][n])) : pen.moveTo(X(entry.step), Y(entry[key][n]))));
    pen.stroke();
    if (history.length) ends.push({ run, y: Y(history[history.length - 1][key][n]) });
  });
  // Each curve bears its name; names that would lie on one another move apart.
  ends.sort((a, b) => a.y - b.y).forEach((end, i) => { if (i) end.y = Math.max(end.y, ends[i - 1].y + 13); });
  for (let i = ends.length - 1, floor = height - bottom + 4; i >= 0; i--, floor -= 13) ends[i].y = Math.min(ends[i].y, floor);
  pen.textAlign = "left"; pen.textBaseline = "middle";
  ends.forEach(({ run, y }) => {
    pen.fillStyle = ink(run);
    pen.fillText(run.name.replace("Reg-VQ without", "without"), X(data.step) + 7, y);
  });
  const now = data.runs.map((run) => run.name + " " + (key === "used" ? Math.round(100 * run.used) + " %" : run[key].toFixed(1)));
  canvas.setAttribute("aria-label", canvas.closest("figure").querySelector("b").textContent + " at step " + data.step + ": " + now.join(", "));
}
function draw() {
  if (!data) return;
  [...runs.children].forEach((figure, n) => {
    figure.querySelector("figcaption i").style.background = ink(data.runs[n]);
    figure.querySelector("figcaption span").textContent = way.words(data.runs[n]);
    way.draw(data.runs[n], figure);
  });
  if (data.original) drawSheet($(".rv-lab-top canvas"), data.original, null);
  element.querySelectorAll("[data-curve]").forEach(drawCurve);
}

function refuse(sentence) {
  $(".rv-lab-problem").hidden = !sentence;
  $(".rv-lab-problem").textContent = sentence || "";
  root.dataset.state = sentence ? "refused" : "ready";
}
function take() {
  const value = props.value || {};
  if (value.number === waiting) waiting = 0;
  if (value.sentence) {
    refuse(value.sentence);
    held = held || playing; // it goes on by itself once there is something to go on with
    go(false);
    return;
  }
  if (!value.runs) return;
  const before = data, over = ended(), other = !data || data.lab !== value.lab;
  way = value.kind === "pictures" ? onPictures : onPoints;
  data = {
    ...value, original: value.original && unpack(value.original, Uint8Array),
    runs: value.runs.map((run) => ({ ...run, ...way.unpack(run) })),
  };
  if (other) { history = []; marks = []; build(); }
  else {
    if (data.step > before.step) {
      const changed = Object.keys(data.weights).filter((name) => data.weights[name] !== before.weights[name]);
      const words = changed.map((name) => CALLED[name] + " " + data.weights[name]).join(", ");
      if (words) marks.push({ step: before.step, words });
    }
    if (way === onPictures) [...runs.children].forEach((figure, n) => {
      figure.turned = turnedOver(before.runs[n].counts, data.runs[n].counts);
    });
  }
  const last = history[history.length - 1];
  if (!last || last.step < data.step) history.push({
    step: data.step, used: data.runs.map((run) => 100 * run.used),
    perplexity: data.runs.map((run) => run.perplexity), psnr: data.runs.map((run) => run.psnr),
  });
  refuse("");
  $(".rv-size").textContent = "step " + data.step.toLocaleString("en") + " of " + data.steps.toLocaleString("en");
  root.dataset.step = data.step;
  draw();
  if (playing && ended()) go(false);
  else if (other && (over || held)) { held = false; go(true); }
  else if (!playing && play.disabled !== ended()) go(false);
  else if (playing && !waiting && element.offsetParent !== null) ask("tick");
  else if (!playing && !other) say(); // what was on its way when it was paused
}

play.addEventListener("click", () => go(!playing));
$(".rv-again").addEventListener("click", () => {
  if (data) data.step = 0; // what was done is over: it plays again
  ask("again");
  go(true);
});
// What the lab is made of was changed: also a lab that is paused shows its new beginning.
document.addEventListener("rv-lab-made", () => {
  clearTimeout(queued);
  if (met) queued = setTimeout(() => ask("look"), 200);
});
new IntersectionObserver((seen) => {
  if (!seen.some((entry) => entry.isIntersecting)) return;
  if (!met) {
    // The first look starts it, unless the visitor wants nothing to move by itself.
    met = true;
    ask("again");
    if (!window.matchMedia("(prefers-reduced-motion: reduce)").matches) go(true);
  } else if (playing) ask("tick");
}).observe(root);
// An answer that never comes must not stop the page for good.
setInterval(() => { if (playing && element.offsetParent !== null) ask("tick"); }, PATIENCE / 6);
new ResizeObserver(() => requestAnimationFrame(draw)).observe(runs);
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
watch("value", take);
take();
