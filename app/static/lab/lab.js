// Small quantizers in training, side by side; requests more steps while it plays.
// props.value: {kind, lab: the session, step, steps, size, weights, number: the request's, original
// and several (pictures), runs: [{name, watch, used, perplexity, and what pointsView or picturesView
// draws, as base64}]}, {sentence, number} for wrong settings, or {} at first.
const { html, penOn, unpack } = regvq, $ = regvq.finder(element);
const root = $(".rv-lab"), runs = $(".rv-runs"), play = $(".rv-play");
const color = (name) => regvq.color(element, name);
// A quantizer has the same color in every selection: (light, dark).
const INKS = {
  "VQ": ["#5d6470", "#b4bcc8"], "EMA": ["#6b6700", "#d6cf5e"], "Gumbel": ["#a3327a", "#ee8fc6"],
  "Reg-VQ": ["#0b6a70", "#5cc9cb"], "Reg-VQ without prior": ["#2463a8", "#86b8f2"],
  "Reg-VQ without mask": ["#43700f", "#a5d06f"], "SimVQ": ["#6a3fa0", "#c3a2f2"], "NSVQ": ["#a8480e", "#f0a35e"],
};
const REVIVED = "#f4f2ec", DIED = "#ff7a5c";
const SETTING_NAMES = { rate: "rate", prior: "prior", mask: "mask", temperature: "temp.", alpha: "alpha" };
const PATIENCE = 30000;
const ink = (run) => INKS[run.name][document.body.classList.contains("dark") ? 1 : 0];
let data = null, view = null, history = [], marks = [], playing = false, seen = false, held = false, queued = 0;
let number = 0, waiting = 0, asked = 0;

const ended = () => Boolean(data && data.step >= data.steps);

// One request at a time; only the answer to the last one makes the next.
function request(how) {
  if (how === "tick" && waiting && performance.now() - asked < PATIENCE) return;
  waiting = ++number;
  asked = performance.now();
  trigger(how, { number });
}
function setPlaying(on) {
  playing = on && !ended();
  play.textContent = playing ? "Pause" : ended() ? "Done" : "Play";
  play.disabled = ended();
  play.setAttribute("aria-pressed", playing);
  root.dataset.playing = playing;
  if (playing) request("tick");
  else setStatus();
}
function setStatus() {
  if (!data) return;
  $(".rv-lab-status").textContent = (ended() ? "Done at step " : "Paused at step ") + data.step + ". "
    + data.runs.map((run) => run.name + ": " + view.words(run) + ", perplexity " + run.perplexity.toFixed(1)).join(". ");
}

// ---------------------------------------------------------------- drawing

function build() {
  root.dataset.kind = data.kind;
  root.toggleAttribute("data-several", data.several);
  root.dataset.many = data.runs.length > 4 ? "many" : "few";
  $(".rv-lab-top").hidden = data.kind !== "pictures";
  runs.replaceChildren(...data.runs.map((run, n) => {
    const figure = html("figure", "rv-run"), caption = html("figcaption");
    figure.innerHTML = view.plates;
    const name = html("b", "", run.name), watched = html("p", "rv-watch", run.watch);
    watched.setAttribute("aria-live", "polite");
    name.prepend(html("i"));
    caption.append(name, html("span"));
    figure.prepend(caption);
    figure.append(watched);
    if (view.listen) view.listen(figure, n);
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
    pen.strokeStyle = color("line");
    pen.beginPath(); pen.moveTo(left, Y(value)); pen.lineTo(width - right, Y(value)); pen.stroke();
    pen.fillStyle = color("ink-soft");
    pen.textAlign = "right"; pen.textBaseline = "middle";
    pen.fillText(String(value), left - 7, Y(value));
  }
  pen.textAlign = "left"; pen.textBaseline = "top";
  pen.fillText("0", left, height - bottom + 7);
  pen.textAlign = "right";
  pen.fillText(last.toLocaleString("en"), width - right, height - bottom + 7);
  // Marks where a setting was changed during training.
  pen.setLineDash([3, 3]);
  marks.forEach((mark, i) => {
    pen.strokeStyle = color("ink-soft");
    pen.beginPath(); pen.moveTo(X(mark.step), top); pen.lineTo(X(mark.step), height - bottom); pen.stroke();
    const next = i + 1 < marks.length ? X(marks[i + 1].step) : width - right;
    if (next - X(mark.step) < pen.measureText(mark.words).width + 6) return;
    pen.fillStyle = color("ink-soft");
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
  // Each curve has its name at its end; overlapping names move apart.
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
    figure.querySelector("figcaption span").textContent = view.words(data.runs[n]);
    view.draw(data.runs[n], figure);
  });
  if (data.original) drawSheet($(".rv-lab-top canvas"), data.original, null);
  element.querySelectorAll("[data-curve]").forEach(drawCurve);
}

function refuse(sentence) {
  $(".rv-lab-problem").hidden = !sentence;
  $(".rv-lab-problem").textContent = sentence || "";
  root.dataset.state = sentence ? "refused" : "ready";
}
function update() {
  const value = props.value || {};
  if (value.number === waiting) waiting = 0;
  if (value.sentence) {
    refuse(value.sentence);
    held = held || playing; // it resumes when the settings are right again
    setPlaying(false);
    return;
  }
  if (!value.runs) return;
  const before = data, over = ended(), other = !data || data.lab !== value.lab;
  view = value.kind === "pictures" ? picturesView : pointsView;
  data = {
    ...value, original: value.original && unpack(value.original, Uint8Array),
    runs: value.runs.map((run) => ({ ...run, ...view.unpack(run) })),
  };
  if (other) { history = []; marks = []; build(); }
  else {
    if (data.step > before.step) {
      const changed = Object.keys(data.weights).filter((name) => data.weights[name] !== before.weights[name]);
      const words = changed.map((name) => SETTING_NAMES[name] + " " + data.weights[name]).join(", ");
      if (words) marks.push({ step: before.step, words });
    }
    if (view === picturesView) [...runs.children].forEach((figure, n) => {
      figure.changed = changedCodes(before.runs[n].counts, data.runs[n].counts);
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
  if (playing && ended()) setPlaying(false);
  else if (other && (over || held)) { held = false; setPlaying(true); }
  else if (!playing && play.disabled !== ended()) setPlaying(false);
  else if (playing && !waiting && element.offsetParent !== null) request("tick");
  else if (!playing && !other) setStatus(); // the answer that was on its way when it was paused
}

play.addEventListener("click", () => setPlaying(!playing));
$(".rv-reset").addEventListener("click", () => {
  if (data) data.step = 0; // a finished lab plays again
  request("restart");
  setPlaying(true);
});
// The choices have changed: a paused lab shows its new start as well.
document.addEventListener("rv-lab-spec", () => {
  clearTimeout(queued);
  if (seen) queued = setTimeout(() => request("look"), 200);
});
new IntersectionObserver((entries) => {
  if (!entries.some((entry) => entry.isIntersecting)) return;
  if (!seen) {
    // It starts when it is first visible, unless the user prefers reduced motion.
    seen = true;
    request("restart");
    if (!window.matchMedia("(prefers-reduced-motion: reduce)").matches) setPlaying(true);
  } else if (playing) request("tick");
}).observe(root);
// A lost answer must not stop the page for good.
setInterval(() => { if (playing && element.offsetParent !== null) request("tick"); }, PATIENCE / 6);
regvq.onResize(runs, draw);
regvq.onTheme(draw);
watch("value", update);
update();
