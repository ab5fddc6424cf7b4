// Between two layouts of a map the codes travel: Plotly moves 4,096 marks at 2 frames per second, a
// canvas at 30. Runs before plot.js.

function departures(before) {
  const own = before.data.find((one) => one.name === "codes"), from = new Map();
  if (!own || !own.customdata || still.matches) return null;
  own.customdata.forEach((row, i) => from.set(row[0], spot(own, i)));
  return from;
}
async function travel(from) {
  const canvas = $(".rv-figure-travel"), own = drawn.data[marks()];
  canvas.hidden = false;
  const found = own && regvq.penOn(canvas);
  if (!found) { canvas.hidden = true; return; }
  const { pen, width, height } = found, pairs = [];
  own.customdata.forEach((row, i) => {
    const start = from.get(row[0]);
    if (start) pairs.push([...start, ...spot(own, i)]);
  });
  const ground = regvq.color(element, "plate"), dot = regvq.color(element, "on-plate"), began = performance.now();
  await new Promise((done) => {
    const step = () => {
      const t = Math.min(1, (performance.now() - began) / 600), ease = t * t * (3 - 2 * t);
      pen.fillStyle = ground;
      pen.fillRect(0, 0, width, height);
      pen.fillStyle = dot;
      for (const [a, b, c, d] of pairs) pen.fillRect(a + (c - a) * ease - 1, b + (d - b) * ease - 1, 2, 2);
      if (t < 1) requestAnimationFrame(step); else done();
    };
    step();
  });
  canvas.hidden = true;
}
