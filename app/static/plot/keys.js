// A chart's keys: of a map, arrows move from code to code; of other charts, along the figures. Runs before
// plot.js, which calls ``listenToKeys``.

function say(text) { $(".rv-figure-said").textContent = text; }
function onMap(step) {
  const trace = drawn.data[marks()], [xa, ya] = axes();
  if (!trace) return;
  const from = hovering >= 0 ? hovering : current(trace);
  const X = (i) => xa.d2p(trace.x[i]), Y = (i) => ya.d2p(trace.y[i]), x = X(from), y = Y(from);
  let best = -1, least = Infinity;
  for (let i = 0; i < trace.x.length; i++) {
    const dx = X(i) - x, dy = Y(i) - y, along = dx * step[0] + dy * step[1];
    if (along <= 0.5) continue;
    const cost = along + 2.5 * Math.abs(dx * step[1] + dy * step[0]); // a distance to the side counts more
    if (cost < least) { least = cost; best = i; }
  }
  place(best >= 0 ? best : from);
  say(tip.innerText.replace("\n", ": "));
}
function onEnd(first) {
  const trace = drawn.data[marks()], sign = first ? -1 : 1;
  if (!trace) return;
  let best = 0;
  for (let i = 1; i < trace.x.length; i++) {
    const down = sign * (trace.y[best] - trace.y[i]);
    if (down > 0 || (down === 0 && sign * (trace.x[i] - trace.x[best]) > 0)) best = i;
  }
  place(best);
  say(tip.innerText.replace("\n", ": "));
}
function current(trace) {
  const picked = drawn.data.find((one) => one.meta && one.meta.picked !== undefined);
  const found = picked ? Array.prototype.findIndex.call(trace.customdata, (row) => row[0] === picked.meta.picked) : -1;
  return Math.max(0, found);
}
async function onCurve(step) {
  const shown = drawn.data.map((one, i) => i).filter((i) => drawn.data[i].x && drawn.data[i].x.length
    && drawn.data[i].meta?.table !== false && plot._fullData[i].visible === true);
  if (!shown.length) return;
  if (!at) at = { curve: shown[0], point: -1 };
  let place = Math.max(0, shown.indexOf(at.curve));
  if (step[1]) place = (place + step[1] + shown.length) % shown.length;
  const trace = drawn.data[shown[place]], last = trace.x.length - 1;
  at = { curve: shown[place], point: Math.max(0, Math.min(last, (step[1] ? at.point : at.point + step[0]))) };
  const [x, y] = [trace.x[at.point], trace.y[at.point]];
  Plotly.Fx.hover(plot, [{ curveNumber: at.curve, pointNumber: at.point }]);
  pointAt(runAt(at.curve, at.point));
  const label = trace.customdata && meta().columns ? meta().columns.map((name, i) => name + " " + trace.customdata[at.point][i]).join(", ") + ": " : "";
  say((trace.name || "") + ", " + label + cell(x) + ", " + cell(y));
}
async function zoom(factor) {
  const [x, y] = axes();
  const around = (axis) => {
    const [a, b] = axis.range, middle = (a + b) / 2, half = ((b - a) / 2) * factor;
    return [middle - half, middle + half];
  };
  Plotly.relayout(plot, factor ? { "xaxis.range": around(x), "yaxis.range": around(y) }
    : { "xaxis.autorange": true, "yaxis.autorange": true });
}
async function whole() {
  const box = meta().whole || meta().window;
  Plotly.relayout(plot, { "xaxis.range": [box[0], box[1]], "yaxis.range": [box[2], box[3]] });
}
function listenToKeys() {
  plot.addEventListener("keydown", (event) => {
    if (!drawn || event.target !== plot) return; // its buttons have keys of their own
    const step = regvq.arrow(event);
    if (step && isMap()) onMap(step);
    else if (isMap() && (event.key === "Home" || event.key === "End")) onEnd(event.key === "Home");
    else if (step && !meta().space) onCurve(step);
    else if (event.key === "Enter" || event.key === " ") {
      if (isMap()) { const own = drawn.data[marks()]; if (own) pick(marks(), hovering >= 0 ? hovering : current(own)); }
      else if (at) pick(at.curve, at.point);
    } else if (isMap() && (event.key === "+" || event.key === "=")) zoom(1 / 1.5);
    else if (isMap() && event.key === "-") zoom(1.5);
    else if (isMap() && event.key === "0") whole();
    else if (event.key === "Escape") { place(-1); pointAt(null); if (isMap()) clear(); }
    else return;
    event.preventDefault();
  });
  plot.addEventListener("blur", () => { if (drawn) { place(-1); pointAt(null); } });
  plot.addEventListener("pointerdown", () => { settle(); plot.focus({ preventScroll: true }); }, { capture: true });
}
