// One code: its tile, how often it is used, its nearest codes, its places in the picture.
// props.value: the figures of /code_detail with {swatch, near: data addresses, where: file, real:
// {patches: data addresses, cells: a patch's width in tokens, source, pictures} or null}, or {}.
const { many } = regvq, $ = regvq.finder(element);
const root = $(".rv-code");

async function draw() {
  const value = props.value || {};
  if (value.code === undefined) { root.dataset.state = "busy"; return; }
  const place = $(".rv-where img");
  await regvq.loadImage(value.where.url);
  if (value !== props.value && props.value.code !== value.code) return;
  place.src = value.where.url;
  place.alt = "The picture, dark except for the tokens of code " + value.code;
  $(".rv-swatch").src = value.swatch;
  $(".rv-swatch").alt = "The tile of code " + value.code;
  $(".rv-id").textContent = value.code;
  $(".rv-rank").textContent = value.uses
    ? "No. " + many(value.rank) + " of " + many(value.codebook_size) + " by use"
    : "Dead: never used in this count";
  $("[data-figure=uses] .rv-value").textContent = many(value.uses);
  $(".rv-source").textContent = "of " + many(value.tokens_counted) + " tokens, " + value.source;
  $("[data-figure=share] .rv-value").textContent = (100 * value.share).toPrecision(2);
  const even = value.share * value.codebook_size;
  $(".rv-even").textContent = (even >= 10 ? even.toFixed(0) : even.toPrecision(2))
    + " × the share under even use of all codes";
  $(".rv-count").textContent = many(value.occurrences) + " of " + many(value.picture_tokens) + " tokens";
  drawReal(value);
  drawNear(value);
  root.dataset.state = "ready";
  root.dataset.code = value.code;
  window.dispatchEvent(new CustomEvent("regvq-code", { detail: value.code }));
}

// Codes near in the codebook often do not look alike: both neighborhoods can be shown.
let near = "codebook";
const show = regvq.choices(element, (name, by) => { near = by; if ((props.value || {}).nearest) drawNear(props.value); });
function drawNear(value) {
  const painted = near === "painted";
  const codes = painted ? value.alike : value.nearest, uses = painted ? value.alike_uses : value.nearest_uses;
  const tiles = painted ? value.near_alike : value.near, apart = painted ? value.differences : value.distances;
  root.dataset.near = near;
  $(".rv-near-kind").textContent = painted ? "whose tiles look alike" + (value.alike_among < value.codebook_size
    ? ", among " + many(value.alike_among) + " painted" : "") : "by the distance of their vectors";
  $(".rv-near").replaceChildren(...codes.map((code, i) => {
    const button = regvq.html("button"), tile = regvq.html("img", "rv-pixelated");
    button.type = "button";
    button.dataset.code = code;
    button.title = "Code " + code + (painted ? ", difference " : ", distance ") + apart[i].toFixed(3)
      + ", used " + many(uses[i]) + " times";
    button.setAttribute("aria-label", button.title);
    tile.src = tiles[i];
    tile.alt = "";
    button.append(tile, regvq.html("span", "", code));
    return button;
  }));
}

function drawReal(value) {
  const place = $(".rv-real"), real = value.real;
  $(".rv-real-count").textContent = "";
  place.dataset.state = real && real.patches.length ? "ready" : "none";
  if (!real) {
    place.textContent = "This checkpoint stores no patches; python train/patches.py adds them.";
    $(".rv-real-source").textContent = "";
    return;
  }
  $(".rv-real-source").textContent = "From " + many(real.pictures) + " " + real.source
    + "; the frame marks the code's own token, the rest is its surroundings.";
  if (!real.patches.length) {
    place.textContent = "The code does not occur in the " + many(real.pictures) + " pictures that patches were taken from.";
    $(".rv-real-source").textContent = "Searched in " + real.source + ".";
    return;
  }
  $(".rv-real-count").textContent = many(real.patches.length);
  place.style.setProperty("--cells", real.cells);
  place.replaceChildren(...real.patches.map((patch, i) => {
    const frame = regvq.html("span"), tile = regvq.html("img", "rv-pixelated");
    tile.src = patch;
    tile.alt = "Patch " + (i + 1) + " that code " + value.code + " encodes";
    frame.append(tile);
    return frame;
  }));
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-code]");
  if (button && button !== root) trigger("pick", { index: Number(button.dataset.code) });
});
watch("value", draw);
draw();
