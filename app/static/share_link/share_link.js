// A link to the current view. The server makes its query; this script copies the link and shows it.
// props.value: {query, own: true if the picture is the user's own and so not in the link, turn}, or {}.
const $ = regvq.finder(element);
const button = $("button"), note = $(".rv-share-note"), field = $("input");
let asked = false;

function close() {
  note.hidden = true;
  button.setAttribute("aria-expanded", "false");
}
button.addEventListener("click", () => {
  if (!note.hidden) { close(); return; }
  asked = true;
  trigger("link", {});
});
document.addEventListener("pointerdown", (event) => { if (!element.contains(event.target)) close(); });
element.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { close(); button.focus(); }
});
watch("value", async () => {
  const value = props.value || {};
  if (!asked || value.query === undefined) return;
  asked = false;
  const address = window.location.origin + window.location.pathname + (value.query ? "?" + value.query : "");
  field.value = address;
  $(".rv-note").textContent = value.own
    ? "Your own picture is not part of the link: it opens with an example instead." : "";
  let copied = false;
  try { await navigator.clipboard.writeText(address); copied = true; } catch (refused) { /* not over plain http */ }
  $("b").textContent = copied ? "Link copied" : "Copy this link";
  note.hidden = false;
  button.setAttribute("aria-expanded", "true");
  if (!copied) field.focus();
  field.select();
});
field.addEventListener("focus", () => field.select());
