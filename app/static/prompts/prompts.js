// Example prompts. props.value: a list of sentences.
function draw() {
  const known = Array.isArray(props.value) ? props.value : [];
  element.querySelector(".rv-prompts").hidden = !known.length;
  element.querySelector(".rv-chips").replaceChildren(...known.slice(0, 4).map((words, index) => {
    const button = regvq.html("button", "", words);
    button.type = "button";
    button.addEventListener("click", () => trigger("pick", { index }));
    return button;
  }));
}
watch("value", draw);
draw();
