// One code: what it paints, how often it is used, its neighbours, its places on the picture.
// props.value: the figures of /code_detail with {swatch, near: data addresses, where: file, real:
// {patches: data addresses, cells: across one, source, pictures} or null}, or {}.
const $ = (selector) => element.querySelector(selector);
const root = $(".rv-code");
const many = (n) => n.toLocaleString("en");

async function draw() {
  const value = props.value || {};
  if (value.code === undefined) { root.dataset.state = "busy"; return; }
  const place = $(".rv-where img");
  const next = new Image();
  next.src = value.where.url;
  await next.decode().catch(() => {});
  if (value !== props.value && props.value.code !== value.code) return;
  place.src = value.where.url;
  place.alt = "The picture, dark except where code " + value.code + " stands";
  $(".rv-swatch").src = value.swatch;
  $(".rv-swatch").alt = "What code " + value.code + " paints";
  $(".rv-id").textContent = value.code;
  $(".rv-rank").textContent = value.uses
    ? "No. " + many(value.rank) + " of " + many(value.codebook_size) + " by use"
    : "Dead: never used in this count";
  $("[data-figure=uses] .rv-value").textContent = many(value.uses);
  $(".rv-source").textContent = "of " + many(value.tokens_counted) + " tokens, " + value.source;
  $("[data-figure=share] .rv-value").textContent = (100 * value.share).toPrecision(2);
  const even = value.share * value.codebook_size;
  $(".rv-even").textContent = (even >= 10 ? even.toFixed(0) : even.toPrecision(2))
    + " × what every code would get if all were used alike";
  $(".rv-count").textContent = many(value.occurrences) + " of " + many(value.picture_tokens) + " tokens";
  drawReal(value);
  const near = $(".rv-near");
  near.replaceChildren(...value.nearest.map((code, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.code = code;
    button.title = "Code " + code + ", distance " + value.distances[i].toFixed(3)
      + ", used " + many(value.nearest_uses[i]) + " times";
    button.setAttribute("aria-label", button.title);
    const tile = document.createElement("img");
    tile.src = value.near[i];
    tile.className = "rv-pixelated";
    tile.alt = "";
    const label = document.createElement("span");
    label.textContent = code;
    button.append(tile, label);
    return button;
  }));
  root.dataset.state = "ready";
  root.dataset.code = value.code;
  window.dispatchEvent(new CustomEvent("regvq-code", { detail: value.code }));
}

function drawReal(value) {
  const place = $(".rv-real"), real = value.real;
  $(".rv-real-count").textContent = "";
  place.dataset.state = real && real.patches.length ? "ready" : "none";
  if (!real) {
    place.textContent = "This bundle holds no patches. train/patches.py adds them.";
    $(".rv-real-source").textContent = "";
    return;
  }
  $(".rv-real-source").textContent = "From " + many(real.pictures) + " " + real.source
    + "; the frame is what the code stands for, around it is what lay there.";
  if (!real.patches.length) {
    place.textContent = "It stands nowhere in the " + many(real.pictures) + " pictures that patches were taken from.";
    $(".rv-real-source").textContent = "Looked for in " + real.source + ".";
    return;
  }
  $(".rv-real-count").textContent = many(real.patches.length);
  place.style.setProperty("--cells", real.cells);
  place.replaceChildren(...real.patches.map((patch, i) => {
    const frame = document.createElement("span"), tile = document.createElement("img");
    tile.src = patch;
    tile.alt = "Patch " + (i + 1) + " that code " + value.code + " encodes";
    tile.className = "rv-pixelated";
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
