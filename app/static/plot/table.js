// The figures of a chart as a table, and its files. Runs before plot.js, which calls ``listenToTools``.

const cell = (one) => one === null || one === undefined || Number.isNaN(one) ? ""
  : typeof one === "number" ? String(Number(one.toPrecision(7))) : String(one);
function title(axis, other) {
  const text = axis && axis.title && axis.title.text;
  return text ? text.replace(/<[^>]*>/g, "") : other;
}
function rowsOf() {
  const layout = drawn.layout, named = meta().columns || [];
  const shown = drawn.data.filter((one) => one.meta?.table !== false && ((one.x && one.x.length) || one.z));
  const several = shown.length > 1, map = tipped(), labels = shown.some((one) => Array.isArray(one.text) && one.customdata);
  const first = shown[0] || {}, axis = (one, letter) => layout[(one[letter + "axis"] || letter).replace(letter, letter + "axis")];
  const head = [...(several ? ["series"] : []), ...named, ...(map && named.length ? ["x", "y", ...(first.z ? ["z"] : [])]
    : [title(axis(first, "x"), "x"), several ? "value" : title(axis(first, "y"), "y")])];
  const rows = [], runs = [];
  for (const one of shown) {
    if (one.type === "heatmap") {
      one.z.forEach((line, r) => Array.from(line).forEach((v, c) => rows.push([one.customdata ? one.customdata[r][c] : c, v])));
      continue;
    }
    for (let i = 0; i < one.x.length; i++) {
      const own = named.length ? named.map((_, n) => one.customdata ? one.customdata[i][n] : "") : [];
      rows.push([...(several ? [one.name || ""] : []), ...own, one.x[i], one.y[i], ...(one.z && map ? [one.z[i]] : [])]);
      if (one.meta?.runs) runs.push({ run: one.meta.runs[i], method: one.meta.methods[i] });
    }
  }
  return { head, rows, labels, runs };
}
const SHOWN = 500;
function table() {
  const { head, rows, runs } = rowsOf();
  $(".rv-figure-table thead tr").replaceChildren(...head.map((name) => html("th", "", name)));
  $(".rv-figure-table tbody").replaceChildren(...rows.slice(0, SHOWN).map((row, r) => {
    const line = html("tr");
    Object.assign(line.dataset, runs[r]);
    line.append(...row.map((one, i) => html(i ? "td" : "th", "", cell(one))));
    return line;
  }));
  $(".rv-figure-table > .rv-note").textContent = rows.length > SHOWN
    ? "The first " + SHOWN + " of " + many(rows.length) + " rows; the CSV file has all of them." : "";
  markRows();
}
async function save(kind) {
  if (!drawn) return;
  const name = (root.dataset.name || "chart") + "." + kind;
  if (kind === "csv") {
    const { head, rows } = rowsOf(), quote = (one) => /[",\n]/.test(one) ? '"' + one.replaceAll('"', '""') + '"' : one;
    const text = [head, ...rows].map((row) => row.map((one) => quote(cell(one))).join(",")).join("\r\n");
    regvq.save(new Blob([text + "\r\n"], { type: "text/csv" }), name);
    return;
  }
  const layout = { ...plot.layout, paper_bgcolor: regvq.color(element, "surface"),
    margin: { l: 60, r: 24, t: 34, b: 60 } };
  const address = await Plotly.toImage({ data: plot.data, layout }, { format: kind, scale: 2,
    width: plot.clientWidth, height: plot.clientHeight + 40 });
  regvq.save(await (await fetch(address)).blob(), name);
}
function listenToTools() {
  $(".rv-figure-tools").addEventListener("click", (event) => { if (event.target.dataset.save) save(event.target.dataset.save); });
  $("[data-table]").addEventListener("click", (event) => {
    const on = event.target.getAttribute("aria-expanded") !== "true";
    event.target.setAttribute("aria-expanded", on);
    $(".rv-figure-table").hidden = !on;
    if (on && drawn) table();
  });
}

