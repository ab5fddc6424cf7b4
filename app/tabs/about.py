"""The tab About: what the checkpoints are, from their own model cards."""

from __future__ import annotations

import re
from typing import Any

import gradio as gr

from ..services import checkpoints
from ..ui.errors import in_a_sentence


@in_a_sentence
def card(checkpoint: Any) -> str:
    """The model card of a checkpoint as Markdown, without its YAML front matter."""
    text = checkpoints.bundle(checkpoint).card
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL).strip()
    return text or f"The checkpoint {checkpoint} has no model card."


INTRODUCTION = """
### What one is looking at

An **image tokenizer** cuts a picture into small squares and replaces each by one entry of a learned
list, the **codebook**. What is left of the picture is a grid of entry numbers, its **tokens**; a
decoder paints them back. Everything that is generated from tokens can be no better than this, so it
is worth a look.

**Reg-VQ** (*Regularized Vector Quantization for Tokenized Image Synthesis*, CVPR 2023) keeps the
whole codebook in use with a prior on the token distribution, and makes the decoder robust by
drawing a masked share of the tokens at random while it learns. `vq` is the plain quantizer to
compare with.

- **Reconstruct** shows what survives of a picture, where it is lost, and at how many bytes.
  A click on it opens one token: where the encoder looked, and what other codes would paint.
- **Codebook** shows which codes are used, which are dead, and what a single one stands for: what it
  paints, and real patches that it encodes.
- **Code map** lays all codes out so that like is near like: hover, pick, or lasso a group, and set
  other checkpoints' maps beside it.
- **Mask ratio** draws a share of the tokens at random, as Reg-VQ does in training, and shows what
  that costs at every ratio.
- **Generate** paints from words or from a map, token by token, and repaints a part of a picture.
- **Compare** sets checkpoints side by side on one picture, and the study's results beside them.
- **Collapse lab** trains small quantizers side by side on points of a plane, to see codes die.

The button with the chain copies a **link** to what you see: whoever opens it finds the same tab,
checkpoint, code and example. A picture of your own is never part of it.

### For programs

Every tab is also an API:

```python
from gradio_client import Client, handle_file

client = Client("http://127.0.0.1:7860")
pictures, tokens, error, figures = client.predict(
    handle_file("photograph.jpg"), api_name="/reconstruct"
)
```

`client.view_api()` lists them all and what they take: `/edit_tokens`, `/codebook_usage`,
`/code_detail`, `/code_map`, `/mask_sweep`, `/generate_text`, `/generate_semantic`, `/complete` and
`/compare` are the others.

Pictures are seen by nobody but the machine that runs this app, which deletes them within two hours.
"""


def build(tab: gr.Tab, checkpoint: gr.Dropdown) -> None:
    """Draw the tab and wire it."""
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=1, min_width=320, elem_classes="rv-prose"):
            gr.Markdown(INTRODUCTION, elem_id="introduction")
        with gr.Column(scale=1, min_width=320, elem_classes="rv-prose rv-card"):
            shown = gr.Markdown("", elem_id="card", sanitize_html=True)
    gr.on(
        [tab.select, checkpoint.change],
        card,
        checkpoint,
        shown,
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )
