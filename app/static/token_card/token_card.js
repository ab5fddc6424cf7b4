// One token: its code, the pixels that the encoder looked at, and other codes in its place.
// props.value: {row, column, code, was, edited: tokens, changed, p or null, swatch, here, field:
// data addresses, extent: pixels, codes, runners: [{code, p or null, distance, shown}]}, or {}.
const { many } = regvq, $ = regvq.finder(element);
const root = $(".rv-token"), any = $(".rv-any"), goto = $(".rv-goto");
const percent = (p) => (p >= 0.995 ? "100 %" : regvq.percent(p));
let token = null;

function draw() {
  const value = props.value || {};
  token = value.code === undefined ? null : value;
  root.dataset.state = token ? "ready" : "none";
  if (!token) {
    delete root.dataset.code;
    window.dispatchEvent(new CustomEvent("regvq-token", { detail: null }));
    return;
  }
  root.dataset.code = token.code;
  root.dataset.edited = token.edited;
  $(".rv-id").textContent = many(token.code);
  $(".rv-swatch").src = token.here;
  $(".rv-swatch").alt = "The decoded token and one token around it";
  $(".rv-spot").textContent = "Row " + token.row + ", column " + token.column
    + (token.changed ? "; was code " + many(token.was) : token.p === null ? "" : "; probability " + percent(token.p));
  $(".rv-field img").src = token.field;
  $(".rv-field img").alt = "The picture around the token, bright where the encoder looked";
  $(".rv-field figcaption").textContent = "Bright: the pixels that the encoder used. 95 % of their weight is within "
    + token.extent + " × " + token.extent + " pixels.";
  $(".rv-runners").replaceChildren(...token.runners.map((runner) => {
    const button = regvq.html("button"), picture = regvq.html("img", "rv-pixelated");
    button.type = "button";
    button.dataset.put = runner.code;
    button.setAttribute("aria-pressed", runner.code === token.code);
    button.title = "Code " + runner.code + (runner.p === null
      ? ", distance " + runner.distance.toPrecision(3) : ", " + percent(runner.p));
    button.setAttribute("aria-label", button.title);
    picture.src = runner.shown;
    picture.alt = "";
    const share = runner.p === null ? runner.distance.toPrecision(2) : percent(runner.p);
    button.append(picture, regvq.html("b", "", runner.code), regvq.html("span", "", share));
    return button;
  }));
  any.querySelector("input").max = token.codes - 1;
  $(".rv-done").hidden = !token.edited;
  $(".rv-done span").textContent = many(token.edited) + (token.edited === 1 ? " token edited" : " tokens edited");
  $("[data-undo=one]").hidden = !token.changed;
  goto.row.value = token.row;
  goto.column.value = token.column;
  window.dispatchEvent(new CustomEvent("regvq-code", { detail: token.code }));
  window.dispatchEvent(new CustomEvent("regvq-token", { detail: token }));
}

const put = (code, all) => token && trigger("put", { row: token.row, column: token.column, code, all: Boolean(all) });
element.addEventListener("click", (event) => {
  const runner = event.target.closest("[data-put]"), undo = event.target.closest("[data-undo]");
  if (runner) put(Number(runner.dataset.put));
  if (undo) put(null, undo.dataset.undo === "all");
});
any.addEventListener("submit", (event) => {
  event.preventDefault();
  put(Number(any.querySelector("input").value));
});
goto.addEventListener("submit", (event) => {
  event.preventDefault();
  trigger("token", { row: Number(goto.row.value), column: Number(goto.column.value) });
});
watch("value", draw);
draw();
