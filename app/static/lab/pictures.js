// The lab's view of a run on small pictures: the reconstructions, and the codebook below.
const SHEET = [96, 64], PATCH = 4;
const picturesView = {
  plates: '<div class="rv-plate rv-sheet"><canvas role="img"></canvas></div>'
    + '<div class="rv-plate rv-grid"><canvas role="application" tabindex="0"></canvas></div>',
  unpack: (run) => ({
    sheet: unpack(run.sheet, Uint8Array), paints: unpack(run.paints, Uint8Array),
    ids: unpack(run.ids, Uint16Array), counts: unpack(run.counts, Uint32Array),
  }),
  words: (run) => run.psnr.toFixed(1) + " dB, " + Math.round(100 * run.used) + " % in use",
  draw(run, figure) {
    const [sheet, grid] = figure.querySelectorAll("canvas"), code = figure.looked;
    drawSheet(sheet, run.sheet, code === undefined ? null : (at) => run.ids[at] === code);
    drawGrid(grid, run, figure, code);
    sheet.setAttribute("aria-label", "Reconstructions by " + run.name + ": " + picturesView.words(run));
    grid.setAttribute("aria-label", "Codebook of " + run.name + ": " + Math.round(run.used * run.size) + " of "
      + run.size + " codes in use. Arrow keys move from code to code.");
    const words = code === undefined ? run.watch : "Code " + code + ": "
      + (run.counts[code] ? run.counts[code].toLocaleString("en") + " uses in the test pictures" : "dead");
    const line = figure.querySelector(".rv-watch");
    if (line.textContent !== words) line.textContent = words;
  },
  listen(figure, n) {
    const grid = figure.querySelector(".rv-grid canvas");
    const look = (code) => {
      if (code === figure.looked) return;
      figure.looked = code;
      picturesView.draw(data.runs[n], figure);
    };
    grid.addEventListener("pointermove", (event) => {
      const { columns, cell } = shapeOf(data.runs[n], grid.clientWidth), box = grid.getBoundingClientRect();
      const code = Math.floor((event.clientY - box.top) / cell) * columns + Math.floor((event.clientX - box.left) / cell);
      look(code >= 0 && code < data.runs[n].size ? code : undefined);
    });
    ["pointerleave", "blur"].forEach((name) => grid.addEventListener(name, () => look(undefined)));
    grid.addEventListener("keydown", (event) => {
      const { columns } = shapeOf(data.runs[n], grid.clientWidth);
      const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
      if (event.key === "Escape") look(undefined);
      if (!by) return;
      event.preventDefault();
      const code = figure.looked === undefined ? 0 : figure.looked + by;
      if (code >= 0 && code < data.runs[n].size) look(code);
    });
  },
};

function shapeOf(run, width) {
  // About four times as wide as high, to fit under the pictures.
  const columns = Math.ceil(Math.sqrt(run.size * 4));
  return { columns, rows: Math.ceil(run.size / columns), cell: width / columns };
}
function pixels(rgb, width, height, inColor) {
  const canvas = html("canvas"), image = new ImageData(width, height);
  canvas.width = width;
  canvas.height = height;
  for (let i = 0; i < width * height; i++) {
    const gray = 0.3 * rgb[3 * i] + 0.59 * rgb[3 * i + 1] + 0.11 * rgb[3 * i + 2];
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = inColor ? rgb[3 * i + c] : gray;
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
// ``lit`` returns true for the tokens (by index) that stay bright; null for all.
function drawSheet(canvas, rgb, lit) {
  const found = penOn(canvas);
  if (!found) return;
  const { pen, width, height } = found;
  pen.imageSmoothingEnabled = false;
  pen.drawImage(pixels(rgb, ...SHEET, true), 0, 0, width, height);
  if (lit) {
    const wide = SHEET[0] / PATCH, high = SHEET[1] / PATCH;
    pen.fillStyle = "rgba(11,13,16,.78)";
    for (let at = 0; at < wide * high; at++) {
      if (lit(at)) continue;
      pen.fillRect((at % wide) * (width / wide), Math.floor(at / wide) * (height / high), width / wide + 0.5, height / high + 0.5);
    }
  }
  if (!data.several) return;
  pen.fillStyle = "#0b0d10";
  for (let n = 1; n < 3; n++) pen.fillRect((n * width) / 3 - 1.5, 0, 3, height);
  pen.fillRect(0, height / 2 - 1.5, width, 3);
}
function drawGrid(canvas, run, figure, looked) {
  const { columns, rows } = shapeOf(run, 1);
  canvas.parentElement.style.aspectRatio = columns + " / " + rows;
  const found = penOn(canvas);
  if (!found) return;
  const { pen, width } = found, { cell } = shapeOf(run, width), most = Math.log1p(Math.max(...run.counts));
  pen.imageSmoothingEnabled = false;
  const all = pixels(run.paints, PATCH, PATCH * run.size, true), gray = pixels(run.paints, PATCH, PATCH * run.size, false);
  run.counts.forEach((count, k) => {
    const x = (k % columns) * cell, y = Math.floor(k / columns) * cell, side = cell - 1.5;
    pen.globalAlpha = count ? 0.55 + (0.45 * Math.log1p(count)) / most : 0.2;
    pen.drawImage(count ? all : gray, 0, k * PATCH, PATCH, PATCH, x, y, side, side);
    pen.globalAlpha = 1;
    const mark = looked === k ? "#ffffff" : figure.changed && figure.changed[k];
    if (!count) {
      pen.strokeStyle = "#4a525d";
      pen.lineWidth = 1;
      pen.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
    }
    if (!mark) return;
    pen.strokeStyle = mark;
    pen.lineWidth = 2;
    pen.strokeRect(x + 1, y + 1, side - 2, side - 2);
  });
}
// The codes that were revived or died since the last answer, with the colors of their frames.
function changedCodes(before, now) {
  const changed = {};
  if (before) now.forEach((count, k) => { if (!count !== !before[k]) changed[k] = count ? REVIVED : DIED; });
  return changed;
}
