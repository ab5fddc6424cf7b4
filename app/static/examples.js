// A strip of pictures to start from. props.value: [{thumb, caption, credit}], or [] while it is made.
const strip = element.querySelector(".rv-thumbs");

function draw() {
  const examples = Array.isArray(props.value) ? props.value : [];
  strip.replaceChildren();
  if (!examples.length) {
    for (let i = 0; i < 6; i++) {
      const wait = document.createElement("span");
      wait.className = "rv-thumb rv-wait";
      strip.append(wait);
    }
  }
  examples.forEach((example, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "rv-thumb";
    button.title = example.caption + " — " + example.credit;
    const picture = document.createElement("img");
    picture.src = example.thumb;
    picture.alt = example.caption;
    button.append(picture);
    button.addEventListener("click", () => trigger("pick", { index }));
    strip.append(button);
  });
}

watch("value", draw);
draw();
