"""Panels of figures."""

from __future__ import annotations

from app.ui.figures import reconstruction_figures, usage_figures


def test_texts_of_a_bundle_are_escaped() -> None:
    panel = usage_figures(
        {
            "used": 1,
            "total": 2,
            "utilization": 0.5,
            "perplexity": 1.0,
            "dead": 1,
            "tokens": 1,
            "source": "<script>alert(1)</script>",
        }
    )
    assert "<script>" not in panel and "&lt;script&gt;" in panel
    assert "<script" not in reconstruction_figures(None)


def test_a_picture_too_small_for_ssim_says_so() -> None:
    known = {
        "psnr": 30.0, "ssim": None, "tokens": 1, "tokens_wide": 1, "tokens_high": 1,
        "downsampling": 8, "mask_ratio": 0.0, "codes_used": 1, "codebook_size": 60,
        "bytes_tokens": 1, "bytes_jpeg_smallest": 300, "bytes_jpeg": 400, "bytes_png": 70,
        "psnr_jpeg_equal": None, "bits_per_token": 5.9, "width": 1, "height": 1,
        "uploaded_width": 1, "uploaded_height": 1,
    }  # fmt: skip
    panel = reconstruction_figures(known)
    assert "needs 11 pixels a side" in panel and "1 is the same structure" not in panel
    assert "needs 11 pixels" not in reconstruction_figures({**known, "ssim": 0.5})
