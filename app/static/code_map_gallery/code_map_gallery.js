// Code maps of several checkpoints side by side, with one layout and one color scale.
// props.value: {maps: [{checkpoint, counts (float64), colors (K x 3, uint8), norms, pca (K x 2),
// umap (or null), float32, all as base64; used, total, perplexity, source}, ...], ramp}, and, after
// a request, {classes: {of: {checkpoint: uint8 as base64}, names, colors}}.
const { html, many, onRamp, span, unpack } = regvq, $ = regvq.finder(element);
const root = $(".rv-gallery"), wall = $(".rv-gallery-wall");
const DEAD = [104, 112, 124], GROUND = "rgb(20,23,28)";
let maps = [], ramp = [], classes = null, canvases = [];
let shown = window.regvqMap || { method: "pca", color: "usage" };


// A color for each code of each map, on a scale that all maps share; also writes the legend.
function colors() {
  const by = shown.color;
  $(".rv-scale").hidden = by !== "usage" && by !== "norm";
  $(".rv-classes").replaceChildren();
  if (by === "usage") {
    // The counts are on different numbers of tokens, so uses are shown relative to even use.
    const share = maps.map((map) => Array.from(map.counts, (n) => (n * map.counts.length) / map.tokens));
    const alive = share.flat().filter((v) => v > 0).sort((a, b) => a - b);
    const low = Math.log(alive[Math.floor(alive.length * 0.01)] || 0.1);
    const high = Math.max(low + 0.01, Math.log(alive[alive.length - 1] || 1));
    legend("≤ " + Math.exp(low).toPrecision(1) + " ×", Math.exp(high).toPrecision(2) + " ×",
      "the share under even use (log scale); gray: dead");
    return share.map((row) => row.map((v) => (v ? onRamp(ramp, (Math.log(v) - low) / (high - low)) : DEAD)));
  }
  if (by === "norm") {
    const [low, high] = span(maps.flatMap((map) => Array.from(map.norms)));
    legend(low.toPrecision(3), high.toPrecision(3), "length of the code vector");
    return maps.map((map) => Array.from(map.norms, (v) => onRamp(ramp, (v - low) / Math.max(high - low, 1e-9))));
  }
  if (by === "class" && classes && maps.every((map) => classes.of[map.checkpoint])) {
    const found = new Set();
    const rows = maps.map((map) => Array.from(classes.of[map.checkpoint], (kind) => {
      if (kind !== 255) found.add(kind);
      return kind === 255 ? DEAD : classes.colors[kind];
    }));
    $(".rv-classes").replaceChildren(...[...found].sort((a, b) => a - b).map((kind) =>
      regvq.classKey(classes.colors[kind], classes.names[kind])));
    return rows;
  }
  if (by === "class") trigger("classes", {});
  return maps.map((map) => Array.from(map.counts, (_, i) => map.colors.subarray(3 * i, 3 * i + 3)));
}
function legend(low, high, what) {
  $(".rv-low").textContent = low;
  $(".rv-high").textContent = high;
  $(".rv-what").textContent = what;
  $(".rv-scale u").style.background = regvq.gradient(ramp);
}

function draw() {
  if (!maps.length) return;
  const paint = colors(), dpr = window.devicePixelRatio || 1;
  maps.forEach((map, m) => {
    const canvas = canvases[m], side = Math.round(canvas.clientWidth * dpr);
    if (!side) return;
    canvas.width = canvas.height = side;
    const places = shown.method === "umap" && map.umap ? map.umap : map.pca;
    canvas.nextElementSibling.hidden = shown.method !== "umap" || !!map.umap;
    const K = map.counts.length, pen = canvas.getContext("2d");
    const x = span(places.filter((_, i) => i % 2 === 0)), y = span(places.filter((_, i) => i % 2));
    const scale = (0.9 * side) / Math.max(x[1] - x[0], y[1] - y[0], 1e-9);
    const radius = (K <= 1500 ? 2.6 : K <= 6000 ? 1.8 : 1) * dpr;
    pen.fillStyle = GROUND;
    pen.fillRect(0, 0, side, side);
    for (const alive of [false, true]) for (let i = 0; i < K; i++) {
      if ((map.counts[i] > 0) !== alive) continue;
      pen.fillStyle = "rgb(" + paint[m][i][0] + "," + paint[m][i][1] + "," + paint[m][i][2] + ")";
      const px = side / 2 + (places[2 * i] - (x[0] + x[1]) / 2) * scale;
      const py = side / 2 - (places[2 * i + 1] - (y[0] + y[1]) / 2) * scale;
      pen.beginPath(); pen.arc(px, py, alive ? radius : 0.7 * radius, 0, 7); pen.fill();
    }
  });
  root.dataset.method = shown.method;
  root.dataset.color = shown.color;
}

function update() {
  const value = props.value || {};
  if (value.classes) {
    const of = {};
    for (const name in value.classes.of) of[name] = unpack(value.classes.of[name], Uint8Array);
    classes = { ...value.classes, of };
    draw();
    return;
  }
  if (!value.maps) return;
  ramp = value.ramp || ramp;
  maps = value.maps.map((map) => {
    const counts = unpack(map.counts, Float64Array);
    return { ...map, counts, tokens: counts.reduce((a, b) => a + b, 0) || 1,
      colors: unpack(map.colors, Uint8Array), norms: unpack(map.norms, Float32Array),
      pca: unpack(map.pca, Float32Array), umap: map.umap && unpack(map.umap, Float32Array) };
  });
  canvases = [];
  wall.replaceChildren(...maps.map((map, m) => {
    const figure = html("figure"), plate = html("div", "rv-plate"), canvas = html("canvas");
    const note = html("p", "rv-gallery-note", "No stored UMAP: PCA shown");
    const caption = html("figcaption"), name = html(m ? "button" : "b", "", map.checkpoint);
    const usage = html("span", "", many(map.used) + " of " + many(map.total) + " codes used, perplexity "
      + many(map.perplexity, 0));
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "Code map of " + map.checkpoint);
    if (m) { name.type = "button"; name.title = "Show this checkpoint in all tabs"; name.dataset.open = map.checkpoint; }
    usage.title = "Counted on " + map.source;
    caption.append(name, usage);
    plate.append(canvas, note);
    figure.append(plate, caption);
    canvases.push(canvas);
    return figure;
  }));
  root.dataset.state = maps.length ? "ready" : "empty";
  root.dataset.maps = maps.length;
  draw();
}
wall.addEventListener("click", (event) => {
  const name = event.target.dataset.open;
  if (name) trigger("open", { name });
});
window.addEventListener("regvq-map", (event) => { shown = event.detail; draw(); });
regvq.onResize(wall, draw);
watch("value", update);
update();
