// Prompts to start from. props.value: sentences.
function draw() {
  const known = Array.isArray(props.value) ? props.value : [];
  element.querySelector(".rv-prompts").hidden = !known.length;
  element.querySelector(".rv-chips").replaceChildren(...known.slice(0, 4).map((words, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = words;
    button.addEventListener("click", () => trigger("pick", { index }));
    return button;
  }));
}
watch("value", draw);
draw();
