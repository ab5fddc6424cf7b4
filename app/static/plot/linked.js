// Charts that show the same runs, those with the same layout.meta.linked: the run that is pointed at in
// one of them, or in its table, is marked in all. A trace's meta has runs and methods, a name for each of
// its points. A chart without the run marks those of the same method. Runs before plot.js, which calls
// ``listenToRuns``.
let linked = null; // {run, method} that is pointed at

function runAt(curve, point) {
  const names = drawn.data[curve].meta;
  return names && names.runs ? { run: names.runs[point], method: names.methods[point] } : null;
}
// Tell all charts of the group, this one too, what is pointed at; null for nothing.
function pointAt(found) {
  if (!meta().linked || (found && found.run) === (linked && linked.run)) return;
  window.dispatchEvent(new CustomEvent("regvq-run", { detail: { group: meta().linked, found } }));
}
// Return the points [curve, point] that belong to what is pointed at.
function marksOf({ run, method }) {
  const own = [], alike = [];
  drawn.data.forEach((one, curve) => {
    if (!one.meta || !one.meta.runs || plot._fullData[curve].visible !== true) return;
    one.meta.runs.forEach((name, point) => {
      if (name === run) own.push([curve, point]);
      else if (one.meta.methods[point] === method) alike.push([curve, point]);
    });
  });
  return own.length ? own : alike;
}
function markRuns() {
  const box = $(".rv-figure-runs"), found = linked && drawn ? marksOf(linked) : [];
  box.replaceChildren(...found.map(([curve, point]) => {
    const one = plot._fullData[curve], ring = html("i"), place = { x: 0, y: 0 };
    for (const letter of ["x", "y"]) {
      const axis = plot._fullLayout[(one[letter + "axis"] || letter).replace(letter, letter + "axis")];
      place[letter] = axis._offset + axis.c2p(plot.calcdata[curve][point][letter]);
    }
    ring.style.left = place.x + "px";
    ring.style.top = place.y + "px";
    // A mark whose own label had no room.
    if (Array.isArray(drawn.data[curve].text) && !drawn.data[curve].text[point]) {
      ring.append(html("b", place.x > plot.clientWidth / 2 ? "rv-left" : "", drawn.data[curve].customdata[point][0]));
    }
    return ring;
  }));
  root.dataset.marked = found.map(([curve, point]) => drawn.data[curve].meta.runs[point]).join(" ");
  markRows();
}
function markRows() {
  const names = (root.dataset.marked || "").split(" "), region = $(".rv-figure-table");
  let first = null;
  for (const line of region.querySelectorAll("tr[data-run]")) {
    const on = names.includes(line.dataset.run);
    line.classList.toggle("rv-marked", on);
    if (on && !first) first = line;
  }
  if (!first || region.hidden || region.matches(":hover")) return;
  const above = first.offsetTop - first.offsetHeight, below = first.offsetTop + first.offsetHeight - region.clientHeight;
  if (region.scrollTop > above || region.scrollTop < below) region.scrollTop = (above + below) / 2;
}
function listenToRuns() {
  window.addEventListener("regvq-run", ({ detail }) => {
    if (meta().linked !== detail.group) return;
    linked = detail.found;
    markRuns();
  });
  const region = $(".rv-figure-table"), runOf = (line) => (line ? { run: line.dataset.run, method: line.dataset.method } : null);
  region.addEventListener("pointerover", (event) => pointAt(runOf(event.target.closest("tr[data-run]"))));
  region.addEventListener("pointerleave", () => pointAt(null));
  region.addEventListener("blur", () => pointAt(null));
  region.addEventListener("keydown", (event) => {
    const lines = [...region.querySelectorAll("tr[data-run]")], step = regvq.arrow(event);
    if (event.key === "Escape") pointAt(null);
    if (!step || !step[1] || !lines.length) return;
    event.preventDefault();
    const at = lines.findIndex((line) => linked && line.dataset.run === linked.run);
    pointAt(runOf(lines[Math.max(0, Math.min(lines.length - 1, at + step[1]))]));
  });
}
