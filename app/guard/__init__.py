"""Protection of a public explorer: everything that stands between a visitor and Gradio.

``gate`` is the ASGI middleware that reads each request before Gradio does; the other modules hold
one kind of check each. Nothing here imports Gradio at module level.
"""
