// Light or dark: what was chosen is kept in the browser (see head.js, which applies it at once).
element.querySelector("button").addEventListener("click", () => {
  const dark = document.body.classList.toggle("dark");
  try { localStorage.setItem("regvq-theme", dark ? "dark" : "light"); } catch (blocked) { /* private mode */ }
});
