// The lab's view of a run on points: latents, codes, and the code of each latent, in a plane.
const pointsView = {
  plates: '<div class="rv-plate"><canvas role="img"></canvas></div>',
  unpack: (run) => ({
    latents: unpack(run.latents, Float32Array), codes: unpack(run.codes, Float32Array), ids: unpack(run.ids, Uint16Array),
  }),
  words: (run) => Math.round(100 * run.used) + " % in use, error " + run.loss.toPrecision(2),
  draw(run, figure) {
    const found = penOn(figure.querySelector("canvas"));
    if (!found) return;
    const { pen, width, height } = found, { latents, codes, ids } = run;
    // The view follows the latents and the codes near them; a distant code is drawn at the edge.
    const sorted = latents.map(Math.abs).sort();
    const reach = Math.max(0.2, 1.5 * sorted[Math.floor(0.98 * sorted.length)]);
    figure.reach = figure.reach ? figure.reach + 0.25 * (reach - figure.reach) : reach;
    const scale = Math.min(width, height) / 2 / figure.reach;
    const X = (x) => Math.max(5, Math.min(width - 5, width / 2 + x * scale));
    const Y = (y) => Math.max(5, Math.min(height - 5, height / 2 - y * scale));
    const alive = new Uint8Array(codes.length / 2);
    ids.forEach((id) => { alive[id] = 1; });
    pen.strokeStyle = "rgba(217,214,206,.13)";
    pen.beginPath();
    ids.forEach((id, i) => {
      pen.moveTo(X(latents[2 * i]), Y(latents[2 * i + 1]));
      pen.lineTo(X(codes[2 * id]), Y(codes[2 * id + 1]));
    });
    pen.stroke();
    pen.fillStyle = "rgba(217,214,206,.5)";
    for (let i = 0; i < ids.length; i++) pen.fillRect(X(latents[2 * i]) - 1, Y(latents[2 * i + 1]) - 1, 2, 2);
    for (let k = 0; k < alive.length; k++) {
      const x = X(codes[2 * k]), y = Y(codes[2 * k + 1]);
      pen.beginPath();
      if (alive[k]) {
        pen.arc(x, y, 4, 0, 7);
        pen.fillStyle = INKS[run.name][1]; pen.fill();
        pen.strokeStyle = "#0b0d10"; pen.lineWidth = 1; pen.stroke();
      } else {
        pen.moveTo(x - 3, y - 3); pen.lineTo(x + 3, y + 3); pen.moveTo(x + 3, y - 3); pen.lineTo(x - 3, y + 3);
        pen.strokeStyle = "#8b93a0"; pen.lineWidth = 1.3; pen.stroke();
      }
    }
    figure.querySelector("canvas").setAttribute("aria-label", "Latents and codes of " + run.name + ": " + pointsView.words(run));
  },
};
