// The chosen theme, as Gradio's own ?__theme= parameter, before anything is drawn.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("regvq-theme"); } catch (blocked) { /* private mode */ }
  const address = new URL(window.location);
  if (chosen && !address.searchParams.has("__theme")) {
    address.searchParams.set("__theme", chosen);
    window.history.replaceState(null, "", address);
  }
})();

// A browser cannot preview every picture that the server can read (TIFF, PPM): no broken icon then.
for (const kind of ["error", "load"]) {
  document.addEventListener(kind, (event) => {
    const image = event.target;
    if (image instanceof HTMLImageElement && image.closest("#picture")) {
      image.style.visibility = kind === "error" ? "hidden" : "";
    }
  }, true);
}
