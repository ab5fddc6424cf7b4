"""Model cards of bundles, written from their JSON: Markdown with Hugging Face front matter."""
