"""The tab About: an introduction, and the checkpoint's model card."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services.checkpoints import model_card
from ..services.examples import photographs
from ..ui.component import INSTANT, SILENT
from ..ui.errors import report_user_errors
from .shared_inputs import Shared

OWN_ADDRESS = """(text) =>
  text.replace("ADDRESS", window.location.origin + window.location.pathname.replace(/\\/$/, ""))"""
"""The page's own address in the introduction: only the browser knows it behind a proxy."""

INTRODUCTION = """
### What this is

An **image tokenizer** divides a picture into small squares and replaces each by one entry of a
learned list, the **codebook**. What remains of the picture is a grid of entry numbers, its
**tokens**; a decoder turns them back into a picture. A picture generated from tokens can be no
better than this decoding, so it is worth a look.

**Reg-VQ** (*Regularized Vector Quantization for Tokenized Image Synthesis*, CVPR 2023) keeps the
whole codebook in use with a prior on the distribution of tokens, and makes the decoder robust by
drawing a masked share of the tokens at random during training. `vq` is the plain quantizer to
compare with.

- **Reconstruct** shows what is preserved of a picture, where it changes, and how many bytes it
  takes. Click a token to see what the encoder looked at and what other codes would look like.
- **Codebook** shows which codes are used, which are dead, and what a single code stands for: the
  tile that it decodes to, and real patches that it encodes.
- **Code map** places similar codes near one another: point at codes, select one or a group, and
  compare with the maps of other checkpoints.
- **Mask ratio** draws a share of the tokens at random, as Reg-VQ does in training, and shows the
  cost at every ratio.
- **Generate** makes pictures from text or from a semantic map, token by token, and inpaints a part
  of a picture.
- **Compare** shows several checkpoints on one picture, and the results of the study.
- **Collapse lab** trains small quantizers side by side, on points in a plane or on small pictures,
  to show how codes die.

The button with the chain copies a **link** to the current view: it opens with the same tab,
checkpoint, code and example. Your own picture is never part of it.

### API

What the tabs do is also an API:

```python
from gradio_client import Client, handle_file

client = Client("ADDRESS")
pictures, tokens, error, figures = client.predict(
    handle_file("photograph.jpg"), api_name="/reconstruct"
)
```

`client.view_api()` lists all endpoints with their parameters; the others are `/edit_tokens`,
`/codebook_usage`, `/code_detail`, `/code_map`, `/find_codes`, `/mask_sweep`, `/generate_text`,
`/generate_class`, `/generate_semantic`, `/complete`, `/compare` and `/lab_pictures`.

### Pictures

Your pictures are seen only by the machine that runs this app, which deletes them within two hours.
"""


def introduction() -> str:
    """Return the introduction in Markdown, with the authors of the example photographs."""
    credits = " ".join(f"*{one.caption}*: {one.credit}." for one in photographs())
    return f"{INTRODUCTION.rstrip()} {'Example photographs: ' + credits if credits else ''}\n"


@report_user_errors
def card(checkpoint: Any) -> str:
    """Return the model card of a checkpoint in Markdown."""
    return model_card(checkpoint)


def build(shared: Shared) -> None:
    """Draw the tab and add its listener."""
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=1, min_width=320, elem_classes="rv-prose"):
            words = gr.Markdown(introduction(), elem_id="introduction")
        with gr.Column(scale=1, min_width=320, elem_classes="rv-prose rv-card"):
            shown = gr.Markdown("", elem_id="card", sanitize_html=True)
    shared.changed.about(None, words, words, js=OWN_ADDRESS, **SILENT)
    shared.changed.about(card, shared.checkpoint, shown, **INSTANT)
