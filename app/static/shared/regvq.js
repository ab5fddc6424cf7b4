// The functions that all components of the page share; a script uses them as ``regvq.name``.

// The theme that was chosen earlier in this browser; an address with ?__theme= has precedence.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("regvq-theme"); } catch (blocked) { /* private mode */ }
  if (chosen && !new URL(window.location).searchParams.has("__theme")) {
    document.body.classList.toggle("dark", chosen === "dark");
  }
})();

// A browser cannot preview every format that the server reads (TIFF, PPM): hide the broken picture.
for (const kind of ["error", "load"]) {
  document.addEventListener(kind, (event) => {
    const image = event.target;
    if (image instanceof HTMLImageElement && image.closest("#picture")) {
      image.style.visibility = kind === "error" ? "hidden" : "";
    }
  }, true);
}

// What a visitor waits for: the place in the models' line, or how far a call is that takes more than
// two seconds. Gradio's own display is hidden (controls.css); its text is "queue: 3/9", the place and
// the length of the line, or the progress that the handler reports.
setInterval(() => {
  for (const part of document.querySelectorAll(":is(#stage, #token, #mask-stage, #compare)")) {
    const tracker = part.querySelector(":scope > [data-testid=status-tracker]");
    const place = tracker && /queue: (\d+)\/(\d+)/.exec(tracker.textContent);
    const runs = !place && part.querySelector(".html-container.pending");
    let note = part.querySelector(":scope > .rv-place");
    part.rvWaits = place ? (part.rvWaits || 0) + 1 : 0;
    part.rvRuns = runs ? part.rvRuns || Date.now() : 0;
    const seconds = part.rvRuns ? Math.floor((Date.now() - part.rvRuns) / 1000) : 0;
    if (part.rvWaits < 3 && seconds < 2) { if (note) note.remove(); continue; } // not for a short wait
    if (!note) {
      note = document.createElement("p");
      note.className = "rv-place";
      note.setAttribute("role", "status");
      part.append(note);
    }
    const words = place ? "Waiting for the model: number " + place[1] + " of " + place[2] + " in line"
      : (regvq.progressOf(part) || "Working") + ", " + seconds + " s";
    if (note.textContent !== words) note.textContent = words;
  }
}, 400);

// The charts' script is read ahead of need: once the first picture is there and nothing else is going on.
addEventListener("load", () => {
  const look = () => {
    const stage = document.querySelector(".rv-stage");
    if (stage && stage.offsetParent && stage.dataset.state === "busy") setTimeout(look, 1000);
    else if (!navigator.connection?.saveData) (window.requestIdleCallback || setTimeout)(() => regvq.plotly("plane").catch(() => {}));
  };
  setTimeout(look, 1500);
});

window.regvq = {
  // A function that finds the first element with a selector inside of ``element``.
  finder: (element) => (selector) => element.querySelector(selector),

  // A new HTML element.
  html(name, className, text) {
    const node = document.createElement(name);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  },

  // A new SVG element.
  svg(name, attributes, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  },

  // The progress that a component's call has reported, in words ("Counting … 12 of 48"), or "".
  progressOf(part) {
    const tracker = part.querySelector(":scope > [data-testid=status-tracker]")
      || (part.closest(".rv-component") || part).querySelector(":scope > [data-testid=status-tracker]");
    const words = tracker && tracker.querySelector(".progress-level-inner");
    if (!words) return "";
    const steps = /(\d+)\/(\d+)/.exec((tracker.querySelector(".progress-text") || words).textContent);
    const text = words.textContent.replace(/\s*-?\s*[\d.]+%\s*$/, "").trim();
    return text + (steps && !/queue/.test(tracker.textContent) ? ", " + steps[1] + " of " + steps[2] : "");
  },

  // A number with thousands separators, at most ``digits`` decimals.
  many: (n, digits = 3) => n.toLocaleString("en", { maximumFractionDigits: digits }),

  // A probability or share as a percentage with two significant digits.
  percent: (p) => (100 * p).toPrecision(2) + " %",

  // The values of an array that the server sent as base64; Kind is a typed array.
  unpack: (text, Kind) => new Kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer),

  // The base64 of a Uint8Array.
  pack(array) {
    let text = "";
    for (let i = 0; i < array.length; i += 8192) text += String.fromCharCode(...array.subarray(i, i + 8192));
    return btoa(text);
  },

  // Save a file: a Blob, or the address of one of the server's files.
  save(file, name) {
    const link = document.createElement("a");
    link.href = typeof file === "string" ? file : URL.createObjectURL(file);
    link.download = name;
    link.click();
    if (typeof file !== "string") setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  },

  // A Uint32Array as a NumPy file (format version 1.0), in C order.
  npy(array, shape) {
    let header = "{'descr': '<u4', 'fortran_order': False, 'shape': (" + shape.join(", ") + "), }";
    header = header.padEnd(64 * Math.ceil((header.length + 11) / 64) - 11) + "\n"; // 10 bytes precede it
    const length = header.length;
    const start = Uint8Array.of(0x93, 78, 85, 77, 80, 89, 1, 0, length & 255, length >> 8);
    return new Blob([start, header, array]);
  },

  // A color of the palette (app/ui/theme.py) in the current theme.
  color: (element, name) => getComputedStyle(element).getPropertyValue("--rv-" + name).trim(),

  // The dark color of each light color of a chart, and the addresses of plotly.js (app/ui/theme.py).
  ...window.regvqCharts,

  // plotly.js for charts in the "plane" or in "space", loaded by the first one that is drawn, or ahead of
  // it; a chart is not drawn in the same task, in which the page would stand still for both.
  loading: {},
  plotly(kind) {
    regvq.loading[kind] = regvq.loading[kind] || new Promise((done, fail) => {
      const script = document.createElement("script");
      script.src = ((window.gradio_config && window.gradio_config.root) || "") + regvq.plotlyAddresses[kind];
      script.onload = () => { const own = window.Plotly; setTimeout(() => done(own)); };
      script.onerror = () => { delete regvq.loading[kind]; script.remove(); fail(new Error("plotly.js could not be loaded")); };
      document.head.append(script);
    });
    return regvq.loading[kind];
  },

  // True if this browser draws WebGL without a graphics processor.
  software() {
    if (regvq.drawnInSoftware === undefined) {
      const gl = document.createElement("canvas").getContext("webgl");
      const known = gl && gl.getExtension("WEBGL_debug_renderer_info");
      regvq.drawnInSoftware = !gl || /swiftshader|llvmpipe|software|basic render/i.test(
        known ? gl.getParameter(known.UNMASKED_RENDERER_WEBGL) : "");
      if (gl) gl.getExtension("WEBGL_lose_context")?.loseContext();
    }
    return regvq.drawnInSoftware;
  },

  // The smallest and the largest of some values.
  span(values) {
    let low = Infinity, high = -Infinity;
    for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
    return [low, high];
  },

  // The color [r, g, b] at t (0 to 1) of a color scale.
  onRamp: (ramp, t) => ramp[Math.round(Math.max(0, Math.min(1, t)) * (ramp.length - 1))],

  // A color scale as a CSS gradient from left to right.
  gradient: (ramp) => "linear-gradient(90deg," + ramp.map((c) => "rgb(" + c + ")").join(",") + ")",

  // A canvas in the resolution of the screen, cleared: {pen, width, height} in CSS pixels, or null
  // while it is not visible.
  penOn(canvas) {
    const dpr = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width || !height) return null;
    canvas.width = width * dpr;
    canvas.height = height * dpr;
    const pen = canvas.getContext("2d");
    pen.scale(dpr, dpr);
    return { pen, width, height };
  },

  // The tiles that the server sent with a view: {sprite: a file of all, side by side} as one image,
  // or {sprite: null, tiles: some, see ``add``} as a store.
  async loadTiles(view, ask) {
    if (view.sprite) {
      const image = await regvq.loadImage(view.sprite.url);
      return image.naturalWidth ? image : null;
    }
    const store = regvq.tileStore(view.patch, ask);
    await store.add(view.tiles);
    return store;
  },

  // The tiles of a large codebook, which arrive as they are asked for: ``want`` asks the server by
  // ``ask`` for those that are missing, one request at a time; ``add`` takes its answer
  // {of: codes (uint32, as base64), sheet: a file of their tiles, side by side}, or null.
  tileStore(f, ask = () => {}) {
    const at = new Map();
    let asked = 0;
    return {
      at,
      has: (code) => at.has(code),
      want(codes, most = 256) {
        if (Date.now() - asked < 20000) return; // a lost answer does not end the asking
        const missing = codes.filter((code) => !at.has(code)).slice(0, most);
        if (!missing.length) return;
        asked = Date.now();
        ask(missing);
      },
      async add(tiles) {
        asked = 0;
        if (!tiles) return;
        const codes = regvq.unpack(tiles.of, Uint32Array), sheet = await regvq.loadImage(tiles.sheet.url);
        const columns = Math.ceil(Math.sqrt(codes.length));
        codes.forEach((code, i) => at.set(code, [sheet, (i % columns) * f, Math.floor(i / columns) * f]));
      },
    };
  },

  // Draw the tile of one code from the sheet of all tiles (``count`` tiles of f x f pixels) or from
  // a store; return false if there is no such tile yet.
  drawTile(pen, sheet, code, count, f, x, y, width, height = width) {
    const columns = Math.ceil(Math.sqrt(count));
    const [image, left, top] = !sheet ? [] : sheet.at ? sheet.at.get(code) || []
      : [sheet, (code % columns) * f, Math.floor(code / columns) * f];
    if (!image || !image.complete || !image.naturalWidth) return false;
    pen.drawImage(image, left, top, f, f, x, y, width, height);
    return true;
  },

  // The same in a small canvas of its own, without smoothing; it is hidden without a tile.
  showTile(canvas, sheet, code, count, f) {
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const drawn = regvq.drawTile(pen, sheet, code, count, f, 0, 0, canvas.width, canvas.height);
    canvas.style.display = drawn ? "" : "none";
  },

  // Ask for what has become known of a codebook: after 8 seconds, then after longer and longer
  // pauses of up to a minute, only while the node is visible and until nothing is missing.
  // ``progress`` returns what is known, or null; the returned function is called at each answer.
  follower(node, progress, ask) {
    let timer = 0, pause = 8, of = "";
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        if (document.hidden || !node.offsetParent) { wait(); return; }
        ask(progress());
        pause = Math.min(60, 1.4 * pause);
        wait(); // should the answer get lost
      }, 1000 * pause);
    };
    return (name) => {
      clearTimeout(timer);
      if (name !== of) { of = name; pause = 8; }
      if (progress() && !progress().finished) wait();
    };
  },

  // How much of a codebook is known, in words; nothing if all of it is.
  known(progress) {
    if (!progress || progress.finished) return "";
    const { many } = regvq, parts = [];
    if (progress.painted < progress.total) {
      parts.push(many(progress.painted) + " of " + many(progress.total) + " codes painted");
    } else if (!progress.arranged) parts.push("all codes painted, being arranged by likeness");
    if (progress.counted < progress.scenes) {
      parts.push("uses counted in " + progress.counted + " of " + progress.scenes + " scenes");
    }
    return parts.length ? "So far: " + parts.join("; ") + ". The rest follows while nobody waits." : "";
  },

  // A picture that the browser has decoded, so that showing it does not flicker.
  async loadImage(address) {
    const image = new Image();
    image.src = address;
    await image.decode().catch(() => {});
    return image;
  },

  // Place a tip above the box {x: middle, y: top, height}, or below it where there is no room.
  placeTip(tip, width, box, gap = 8, margin = 6) {
    const left = Math.max(margin, Math.min(width - tip.offsetWidth - margin, box.x - tip.offsetWidth / 2));
    const above = box.y - tip.offsetHeight - gap;
    tip.style.left = left + "px";
    tip.style.top = (above > 0 ? above : box.y + box.height + gap) + "px";
  },

  // A radio group of buttons: chosen by click, or by the arrow keys among the visible ones.
  // ``onChange`` gets the data-value; the returned function shows a value as the chosen one.
  radios(group, onChange) {
    const show = (value, focus) => group.querySelectorAll("[role=radio]").forEach((button) => {
      const on = button.dataset.value === String(value);
      button.setAttribute("aria-checked", on);
      button.tabIndex = on ? 0 : -1;
      if (on && focus) button.focus();
    });
    const choose = (button, focus) => { show(button.dataset.value, focus); onChange(button.dataset.value); };
    group.addEventListener("click", (event) => {
      const button = event.target.closest("[role=radio]");
      if (button) choose(button);
    });
    group.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const buttons = [...group.querySelectorAll("[role=radio]")].filter((button) => button.offsetParent);
      const now = buttons.findIndex((button) => button.getAttribute("aria-checked") === "true");
      choose(buttons[(now + step + buttons.length) % buttons.length], true);
    });
    return show;
  },

  // Every radio group with [data-choice] in ``element``: ``onChange`` gets the choice's name and
  // value. The returned functions, by name, show a value as the chosen one.
  choices(element, onChange) {
    const show = {};
    element.querySelectorAll("[data-choice]").forEach((group) => {
      const name = group.dataset.choice;
      show[name] = regvq.radios(group, (value) => onChange(name, value));
    });
    return show;
  },

  // Call ``draw`` when the theme changes between light and dark.
  onTheme(draw) {
    new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  },

  // Call ``draw`` in the next frame when the size of a node changes.
  onResize(node, draw) {
    new ResizeObserver(() => requestAnimationFrame(draw)).observe(node);
  },

  // The step of an arrow key as [right, down], or undefined.
  arrow: (event) =>
    ({ ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] })[event.key],
};
