// A map is zoomed by the wheel, by a track pad and by two fingers. While that lasts, the picture is only
// stretched and shifted, which a browser without a graphics processor does 60 times per second; Plotly's own
// zoom draws the chart anew after each turn. When it rests, the axes follow, and the server draws the window.
// Runs before plot.js, which calls ``listenToZoom``.
const REST = 160; // milliseconds after which a zoom is over
let stretched = null; // {k, x, y}: a point p of the drawn chart is seen at k * p + (x, y), in pixels
let ending = 0;

// Zoom by a factor around a point of the plot, which moves to another one.
function stretch(factor, from, to = from) {
  const { k, x, y } = stretched || { k: 1, x: 0, y: 0 };
  stretched = { k: k * factor, x: to.x - factor * (from.x - x), y: to.y - factor * (from.y - y) };
  place(-1);
  clearTimeout(moving);
  const layer = plot.querySelector(".main-svg");
  layer.style.transformOrigin = "0 0";
  layer.style.willChange = "transform";
  layer.style.transform = "translate(" + stretched.x + "px," + stretched.y + "px) scale(" + stretched.k + ")";
  clearTimeout(ending);
  ending = setTimeout(settle, REST);
}
function settle() {
  clearTimeout(ending);
  if (!stretched) return;
  const { k, x: right, y: down } = stretched, [xa, ya] = axes(), layer = plot.querySelector(".main-svg");
  const ends = (axis, shift, sides) => sides.map((side) => axis.p2d((axis._offset + side - shift) / k - axis._offset));
  stretched = null;
  layer.style.transform = layer.style.willChange = "";
  return Plotly.relayout(plot, { "xaxis.range": ends(xa, right, [0, xa._length]), "yaxis.range": ends(ya, down, [ya._length, 0]) });
}
function listenToZoom() {
  plot.addEventListener("wheel", (event) => {
    // Until the chart has the focus, the wheel scrolls the page.
    if (!plot.contains(document.activeElement)) { event.stopPropagation(); return; }
    if (!drawn || !isMap()) return;
    event.preventDefault();
    event.stopPropagation();
    const box = plot.getBoundingClientRect(), turned = event.deltaMode ? 20 * event.deltaY : event.deltaY;
    stretch(Math.exp(-Math.max(-20, Math.min(20, turned)) / 200), { x: event.clientX - box.left, y: event.clientY - box.top });
  }, { capture: true, passive: false });
  let pinch = null;
  plot.addEventListener("touchmove", (event) => {
    if (!drawn || !isMap() || event.touches.length !== 2) return;
    event.preventDefault();
    event.stopPropagation();
    const [a, b] = event.touches, box = plot.getBoundingClientRect();
    const now = { far: Math.max(1, Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY)),
      x: (a.clientX + b.clientX) / 2 - box.left, y: (a.clientY + b.clientY) / 2 - box.top };
    if (pinch) stretch(now.far / pinch.far, pinch, now);
    pinch = now;
  }, { capture: true, passive: false });
  plot.addEventListener("touchend", () => { if (pinch) settle(); pinch = null; }, { capture: true });
}
