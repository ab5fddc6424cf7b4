// A strip of example pictures. props.value: [{thumb, caption, credit}], or [] while they are drawn.
const { html } = regvq, strip = element.querySelector(".rv-thumbs");

function draw() {
  const examples = Array.isArray(props.value) ? props.value : [];
  strip.replaceChildren();
  if (!examples.length) {
    for (let i = 0; i < 6; i++) strip.append(html("span", "rv-thumb rv-wait"));
  }
  examples.forEach((example, index) => {
    const button = html("button", "rv-thumb"), picture = html("img");
    button.type = "button";
    button.title = example.caption + " (" + example.credit + ")";
    picture.src = example.thumb;
    picture.alt = example.caption;
    button.append(picture);
    button.addEventListener("click", () => trigger("pick", { index }));
    strip.append(button);
  });
}

watch("value", draw);
draw();
