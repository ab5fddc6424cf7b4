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

// Buttons of which one is on, as a radio group: by click, and by the arrow keys among those in view.
// ``chosen`` is told the data-value; returned is a function that shows a value as the one that is on.
window.regvqRadios = (group, chosen) => {
  const show = (value, focus) => group.querySelectorAll("[role=radio]").forEach((button) => {
    const on = button.dataset.value === String(value);
    button.setAttribute("aria-checked", on);
    button.tabIndex = on ? 0 : -1;
    if (on && focus) button.focus();
  });
  const choose = (button, focus) => { show(button.dataset.value, focus); chosen(button.dataset.value); };
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
};
