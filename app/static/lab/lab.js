// Small quantizers in training, side by side; requests more steps while it plays.
// props.value: {kind, lab: the session, step, steps, size, weights, number: the request's, original
// and several (pictures), runs: [{name, watch, size, used, perplexity, and what pointsView or
// picturesView draws, as base64}]}, {sentence, number} for wrong settings, or {} at first.
const { html, penOn, unpack } = regvq, $ = regvq.finder(element);
const root = $(".rv-lab"), runs = $(".rv-runs"), play = $(".rv-play");
// A quantizer has the same color in every selection and in the curves: (light, dark).
const INKS = regvq.methodInks;
const REVIVED = "#f4f2ec", DIED = "#ff7a5c";
const PATIENCE = 30000;
const ink = (run) => INKS[run.name][document.body.classList.contains("dark") ? 1 : 0];
let data = null, view = null, playing = false, seen = false, held = false, queued = 0;
let number = 0, waiting = 0, asked = 0;

const ended = () => Boolean(data && data.step >= data.steps);

// One request at a time; only the answer to the last one makes the next.
function request(how) {
  if (how === "tick" && waiting && performance.now() - asked < PATIENCE) return;
  root.dataset.waiting = waiting = ++number;
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
function draw() {
  if (!data) return;
  [...runs.children].forEach((figure, n) => {
    figure.querySelector("figcaption i").style.background = ink(data.runs[n]);
    figure.querySelector("figcaption span").textContent = view.words(data.runs[n]);
    view.draw(data.runs[n], figure);
  });
  if (data.original) drawSheet($(".rv-lab-top canvas"), data.original, null);
}

function refuse(sentence) {
  $(".rv-lab-problem").hidden = !sentence;
  $(".rv-lab-problem").textContent = sentence || "";
  root.dataset.state = sentence ? "refused" : "ready";
}
function update() {
  const value = props.value || {};
  if (value.number === waiting) root.dataset.waiting = waiting = 0;
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
  if (other) build();
  else if (view === picturesView) [...runs.children].forEach((figure, n) => {
    figure.changed = changedCodes(before.runs[n].counts, data.runs[n].counts);
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
