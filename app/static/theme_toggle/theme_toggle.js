// Light or dark: the choice is stored in the browser; shared/regvq.js applies it next time.
element.querySelector("button").addEventListener("click", () => {
  const dark = document.body.classList.toggle("dark");
  try { localStorage.setItem("regvq-theme", dark ? "dark" : "light"); } catch (blocked) { /* private mode */ }
  const address = new URL(window.location);
  address.searchParams.delete("__theme");
  window.history.replaceState(null, "", address);
});
