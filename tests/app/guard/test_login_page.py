"""The page before the login names no endpoint and no checkpoint."""

from __future__ import annotations

import gradio as gr
from starlette.middleware import Middleware

from app.guard.gate import Gate
from tests.helpers import local_http as http


def test_the_list_of_endpoints_is_shown_after_the_login_only() -> None:
    with gr.Blocks() as blocks:
        value = gr.Textbox("hidden-checkpoint", label="hidden-input")
        gr.Button().click(lambda text: text, value, value, api_name="hidden_endpoint")
    _, address, _ = blocks.launch(
        server_name="127.0.0.1",
        prevent_thread_lock=True,
        quiet=True,
        auth=("a", "right"),
        app_kwargs={"middleware": [Middleware(Gate)]},
    )
    try:
        with http.client(base_url=address, timeout=60) as client:
            answer = client.get("/")
            assert answer.status_code == 200 and "window.gradio_api_info = {}" in answer.text
            assert "hidden-" not in answer.text and "hidden_endpoint" not in answer.text
            form = {"username": "a", "password": "right"}
            assert client.post("/login", data=form).status_code == 200
            assert "hidden_endpoint" in client.get("/").text
    finally:
        blocks.close(verbose=False)
