// The open tab asks for what it shows: when it is opened, and when a checkpoint or a picture that all
// tabs share has been chosen. The listeners of those choices dispatch "rv-changed" (app/ui/changes.py);
// hidden tabs ask when they are opened. Nothing listens to the components' own "change": Gradio also
// fires it for what the server sets, and for every call that has the component as an input.
const TABS = ["reconstruct", "codebook", "codemap", "masks", "about"];
let opened = false, known, last;

function ask(again) {
  const open = TABS.find((name) => {
    const panel = document.getElementById("tab-" + name);
    return panel && panel.getClientRects().length;
  });
  if (open && (again || open !== last)) trigger(open, {});
  last = open;
}
document.addEventListener("rv-changed", ({ detail }) => {
  opened = opened || Boolean(detail.opened); // before that, the link's choices are not there yet
  if (!opened) return;
  if ("checkpoint" in detail) {
    // A list reports a choice twice, and once more when it loses the focus.
    if (detail.checkpoint === known) return;
    known = detail.checkpoint;
    trigger("checkpoint", {});
  }
  ask(!detail.tab); // Gradio reports an opened tab more than once
});
