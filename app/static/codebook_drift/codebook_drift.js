// The change of a codebook over training: usage above, the codes' movement below.
// props.value: {checkpoint, history: {steps, used, perplexity, median, far (S each), codes, tokens,
// counts (S x K, uint32), moved (S x K, float32), both as base64} or null}, or {} at first.
const root = element.querySelector(".rv-drift"), canvas = element.querySelector("canvas");
const { unpack } = regvq;
const color = (name) => regvq.color(element, name);
const many = (n) => regvq.many(n, 0);
let data = null, picked = -1;

function line(pen, xs, ys, ink, width, dots) {
  pen.strokeStyle = pen.fillStyle = ink;
  pen.lineWidth = width;
  pen.lineJoin = "round";
  pen.beginPath();
  xs.forEach((x, i) => (i ? pen.lineTo(x, ys[i]) : pen.moveTo(x, ys[i])));
  pen.stroke();
  if (dots || xs.length === 1) xs.forEach((x, i) => { pen.beginPath(); pen.arc(x, ys[i], 2.5, 0, 7); pen.fill(); });
}

function draw() {
  const found = data && regvq.penOn(canvas);
  if (!found) return;
  const { pen, width: w, height: h } = found;
  pen.font = "11px " + getComputedStyle(element).fontFamily;
  const left = 44, right = 16, S = data.steps.length, K = data.codes;
  const last = data.steps[S - 1], first = S > 1 ? data.steps[0] : 0;
  const X = (step) => left + ((w - left - right) * (step - first)) / Math.max(1, last - first);
  const xs = data.steps.map(X), own = picked >= 0 && picked < K;
  const moved = own ? data.steps.map((_, s) => data.moved[s * K + picked]) : [];
  const far = Math.max(1e-6, ...data.far, ...moved);
  const panels = [
    { top: 12, bottom: 0.56 * h, most: 1, ticks: [0, 0.5, 1], name: (v) => 100 * v + " %" },
    { top: 0.56 * h + 22, bottom: h - 24, most: far, ticks: [0, far], name: (v) => (100 * v).toPrecision(2) + " %" },
  ];
  for (const panel of panels) {
    panel.Y = (v) => panel.bottom - ((panel.bottom - panel.top) * v) / panel.most;
    pen.lineWidth = 1;
    for (const tick of panel.ticks) {
      pen.strokeStyle = color("line");
      pen.beginPath(); pen.moveTo(left, panel.Y(tick)); pen.lineTo(w - right, panel.Y(tick)); pen.stroke();
      pen.fillStyle = color("ink-soft");
      pen.textAlign = "right"; pen.textBaseline = "middle";
      pen.fillText(tick ? panel.name(tick) : "0", left - 6, panel.Y(tick));
    }
  }
  pen.textBaseline = "top";
  pen.textAlign = "left";
  pen.fillText("step " + many(first), left, h - 18);
  pen.textAlign = "right";
  if (S > 1) pen.fillText(many(last), w - right, h - 18);
  const [above, below] = panels;
  line(pen, xs, data.used.map((n) => above.Y(n / K)), color("accent"), 2, true);
  line(pen, xs, data.perplexity.map((n) => above.Y(n / K)), color("warm"), 2, true);
  pen.setLineDash([4, 4]);
  line(pen, xs, data.far.map(below.Y), color("ink-soft"), 1.2);
  pen.setLineDash([]);
  line(pen, xs, data.median.map(below.Y), color("ink-soft"), 2);
  const one = element.querySelector(".rv-drift-one");
  one.hidden = !own;
  one.style.display = own ? "" : "none";
  if (own) {
    line(pen, xs, moved.map(below.Y), color("ink"), 1.4, true);
    const share = (s) => ((100 * data.counts[s * K + picked]) / Math.max(1, data.tokens[s])).toPrecision(2);
    one.querySelector("i").textContent = "code " + picked + ": " + share(0) + " % of the tokens in the first save, "
      + share(S - 1) + " % in the last";
  }
}

function update() {
  const value = props.value || {};
  if (!value.checkpoint) return;
  const found = value.history;
  data = found && { ...found, counts: unpack(found.counts, Uint32Array), moved: unpack(found.moved, Float32Array) };
  root.dataset.state = data ? "ready" : "none";
  root.dataset.saves = data ? data.steps.length : 0;
  if (data) canvas.setAttribute("aria-label", "Change over " + data.steps.length + " saves: "
    + many(data.used[0]) + " codes used in the first, " + many(data.used[data.used.length - 1]) + " in the last");
  draw();
}

window.addEventListener("regvq-code", (event) => { picked = event.detail; draw(); });
regvq.onResize(root, draw);
regvq.onTheme(draw);
watch("value", update);
update();
