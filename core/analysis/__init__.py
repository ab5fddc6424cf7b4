"""What a codebook does, as arrays for an app or a notebook to draw."""
