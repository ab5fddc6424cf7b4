"""View models and computation of the explorer; nothing here knows Gradio."""
