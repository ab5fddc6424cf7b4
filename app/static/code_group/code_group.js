// The codes of a selection, a page at a time. props.value: {total, share, dead, view, page, pages, first,
// codes, uses, tiles per code (counts), sheet: a file of all their tiles side by side, columns, note,
// list: {codes (uint32), uses (float64), as base64} with the first page}, or {total: 0}.
// Events: turn {page, view}, pick {index}, clear {}.
const { html, many } = regvq, $ = regvq.finder(element);
const root = $(".rv-group"), box = $(".rv-group-tiles");
let data = null, list = null;

const show = regvq.choices(element, (name, view) => data && trigger("turn", { page: 0, view }));

function update() {
  const value = props.value || {};
  root.hidden = !value.total;
  if (!value.total) { data = list = null; delete root.dataset.chosen; return; }
  data = value;
  list = value.list || list;
  show.view(value.view);
  $(".rv-many").textContent = many(value.total) + (value.total === 1 ? " code" : " codes");
  $(".rv-share").textContent = value.share;
  box.dataset.view = value.view;
  let at = 0;
  box.replaceChildren(...value.codes.map((code, i) => {
    const button = html("button", value.uses[i] ? "" : "rv-gone");
    button.type = "button";
    button.dataset.code = code;
    button.title = "Code " + code + ", " + many(value.uses[i]) + (value.uses[i] === 1 ? " use" : " uses");
    button.setAttribute("aria-label", button.title);
    for (let n = 0; n < value.counts[i]; n++, at++) {
      const tile = html("i"), columns = value.columns, rows = value.rows;
      tile.style.backgroundImage = "url(" + value.sheet.url + ")";
      tile.style.backgroundSize = 100 * columns + "% " + 100 * rows + "%";
      tile.style.backgroundPosition = (columns > 1 ? (100 * (at % columns)) / (columns - 1) : 0) + "% "
        + (rows > 1 ? (100 * Math.floor(at / columns)) / (rows - 1) : 0) + "%";
      button.append(tile);
    }
    return button;
  }));
  const pager = $(".rv-pager");
  pager.hidden = value.pages < 2;
  pager.querySelector("span").textContent = many(value.first + 1) + " to " + many(value.first + value.codes.length)
    + " of " + many(value.of);
  pager.querySelector("[data-page='-1']").disabled = value.page === 0;
  pager.querySelector("[data-page='1']").disabled = value.page >= value.pages - 1;
  $(".rv-group-note").textContent = value.note;
  Object.assign(root.dataset, { chosen: value.total, shown: at, page: value.page, view: value.view });
}
box.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) trigger("pick", { index: Number(button.dataset.code) });
});
$(".rv-pager").addEventListener("click", (event) => {
  const step = Number(event.target.dataset.page);
  if (step) trigger("turn", { page: data.page + step, view: data.view });
});
$("[data-clear]").addEventListener("click", () => trigger("clear", {}));
$("[data-list]").addEventListener("click", () => {
  if (!list) return;
  const codes = regvq.unpack(list.codes, Uint32Array), uses = regvq.unpack(list.uses, Float64Array);
  regvq.save(new Blob(["code,uses\r\n", ...Array.from(codes, (code, i) => code + "," + uses[i] + "\r\n")], { type: "text/csv" }), "codes.csv");
});
watch("value", update);
update();
