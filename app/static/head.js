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
