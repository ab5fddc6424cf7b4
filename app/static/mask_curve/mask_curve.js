// PSNR and changed tokens by mask ratio; requests more points until all are there.
// props.value: {points: [{ratio, psnr or null, changed}], left: missing points, ratio: the slider's
// value, stamp}, or {} if there is nothing to draw.
const $ = regvq.finder(element);
const root = $(".rv-sweep"), canvas = $("canvas");
const color = (name) => regvq.color(element, name);
const LEFT = 34, RIGHT = 10, TOP = 22, BOTTOM = 22, GAP = 34;
let data = null, hovered = null;

function scale(low, high) {
  // Round ticks, three to five of them.
  const span = Math.max(high - low, 1e-6), raw = span / 3, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  return [Math.floor(low / step) * step, Math.ceil(high / step) * step, step];
}
function at(points, key, ratio) {
  const exact = points.filter((p) => p[key] !== null);
  const after = exact.findIndex((p) => p.ratio >= ratio - 1e-9);
  if (after < 0) return null;
  if (after === 0) return exact[0].ratio - ratio < 1e-9 ? exact[0][key] : null;
  const a = exact[after - 1], b = exact[after], share = (ratio - a.ratio) / (b.ratio - a.ratio);
  return a[key] + (b[key] - a[key]) * share;
}

function draw() {
  const found = data && regvq.penOn(canvas);
  if (!found) return;
  const { pen, width, height } = found;
  pen.font = "11px " + getComputedStyle(element).fontFamily;
  const band = (height - TOP - GAP - BOTTOM) / 2;
  const X = (ratio) => LEFT + (width - LEFT - RIGHT) * ratio;
  const psnrs = data.points.map((p) => p.psnr).filter((v) => v !== null);
  const [low, high, step] = psnrs.length ? scale(Math.min(...psnrs), Math.max(...psnrs)) : [0, 1, 1];
  chart(pen, X, TOP, band, "psnr", "PSNR, dB", color("accent"), low, high, step, (v) => v.toFixed(2) + " dB");
  const changed = data.points.map((p) => ({ ...p, changed: 100 * p.changed }));
  chart(pen, X, TOP + band + GAP, band, "changed", "Changed tokens, %", color("warm"), 0, 100, 50,
    (v) => v.toFixed(0) + " %", changed);
  pen.fillStyle = color("ink-soft");
  pen.textBaseline = "top";
  [0, 0.5, 1].forEach((ratio) => {
    pen.textAlign = ratio === 0 ? "left" : ratio === 1 ? "right" : "center";
    pen.fillText(ratio === 0.5 ? "0.5  mask ratio" : String(ratio), X(ratio), height - BOTTOM + 7);
  });
}
function chart(pen, X, top, band, key, title, ink, low, high, step, words, points = data.points) {
  const Y = (value) => top + band * (1 - (value - low) / (high - low));
  const soft = color("ink-soft"), line = color("line");
  pen.lineWidth = 1;
  for (let value = low; value <= high + step / 2; value += step) {
    pen.strokeStyle = line;
    pen.beginPath(); pen.moveTo(X(0), Y(value)); pen.lineTo(X(1), Y(value)); pen.stroke();
    pen.fillStyle = soft;
    pen.textAlign = "right"; pen.textBaseline = "middle";
    pen.fillText(String(Math.round(value * 100) / 100), X(0) - 7, Y(value));
  }
  pen.textAlign = "left"; pen.textBaseline = "bottom";
  pen.fillStyle = color("ink");
  pen.fillText(title, X(0), top - 6);
  const known = points.filter((p) => p[key] !== null);
  pen.strokeStyle = ink;
  pen.lineWidth = 2;
  pen.lineJoin = "round";
  pen.beginPath();
  known.forEach((p, i) => (i ? pen.lineTo(X(p.ratio), Y(p[key])) : pen.moveTo(X(p.ratio), Y(p[key]))));
  pen.stroke();
  pen.fillStyle = ink;
  known.forEach((p) => { pen.beginPath(); pen.arc(X(p.ratio), Y(p[key]), 2.2, 0, 7); pen.fill(); });
  const ratio = hovered === null ? data.ratio : hovered, value = at(points, key, ratio);
  pen.strokeStyle = soft;
  pen.lineWidth = 1;
  pen.setLineDash([3, 3]);
  pen.beginPath(); pen.moveTo(X(ratio), top); pen.lineTo(X(ratio), top + band); pen.stroke();
  pen.setLineDash([]);
  if (value === null) return;
  pen.beginPath(); pen.arc(X(ratio), Y(value), 5, 0, 7);
  pen.fillStyle = ink; pen.fill();
  pen.strokeStyle = color("surface"); pen.lineWidth = 2; pen.stroke();
  pen.fillStyle = ink;
  pen.textAlign = "right"; pen.textBaseline = "bottom";
  pen.fillText(words(value) + " at " + ratio.toFixed(2), X(1), top - 6);
}

function update() {
  const value = props.value || {};
  if (!value.points) { root.dataset.state = "empty"; data = null; return; }
  data = value;
  const all = data.points.length + data.left;
  root.dataset.state = data.left ? "filling" : "ready";
  root.dataset.points = data.points.length;
  $(".rv-filled").textContent = data.left ? data.points.length + " of " + all + " ratios" : "";
  draw();
  // A hidden tab does not keep the model busy; opening it draws, and requests, again.
  if (data.left && element.offsetParent !== null) trigger("more", {});
}

function ratioUnder(event) {
  const box = canvas.getBoundingClientRect();
  const ratio = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
  return Math.round(100 * Math.max(0, Math.min(1, ratio))) / 100;
}
canvas.addEventListener("pointermove", (event) => { hovered = ratioUnder(event); draw(); });
canvas.addEventListener("pointerleave", () => { hovered = null; draw(); });
canvas.addEventListener("click", (event) => data && trigger("pick", { ratio: ratioUnder(event) }));

regvq.onResize(canvas, draw);
regvq.onTheme(draw);
watch("value", update);
update();
