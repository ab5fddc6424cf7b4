// The theme that was chosen here before; an address with ?__theme= knows better.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("regvq-theme"); } catch (blocked) { /* private mode */ }
  if (chosen && !new URL(window.location).searchParams.has("__theme")) {
    document.body.classList.toggle("dark", chosen === "dark");
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
