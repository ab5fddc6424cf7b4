"""Small real bundles for the app's tests, with random weights and real statistics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.analysis.atlas import build_atlas
from core.analysis.real_patches import gather_patches
from core.bundles import bundle
from core.networks.autoencoder import NetworkConfig
from core.quantizers import RegVQConfig, VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig

NETWORK = NetworkConfig(widths=(8, 12, 16), encoder_blocks=1, decoder_blocks=1, latent_dim=8)
SIZE = 60  # codes: not a square number, so that the codebook has an incomplete row


def tiny(quantizer: RegVQConfig | VQConfig, seed: int) -> Tokenizer:
    """Return a tokenizer with random weights; its codes are latents, so that many are used."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = Tokenizer(TokenizerConfig(NETWORK, quantizer)).eval().requires_grad_(False)
        images = torch.rand(6, 3, 64, 64) * 2 - 1
        rows = tokenizer.latents(images).permute(0, 2, 3, 1).reshape(-1, NETWORK.latent_dim)
        codes = next(
            tensor
            for tensor in tokenizer.quantizer.state_dict().values()
            if tensor.shape == (SIZE, NETWORK.latent_dim)
        )
        codes.copy_(rows[torch.randperm(len(rows))[:SIZE]])
    return tokenizer


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the bundles "tiny-regvq" (with an atlas) and "tiny-vq" (without one)."""
    root = tmp_path_factory.mktemp("bundles")
    tokenizer = tiny(RegVQConfig(size=SIZE), seed=0)
    counts = np.random.default_rng(0).integers(1, 500, SIZE)
    counts[[3, 17, SIZE - 1]] = 0
    atlas = build_atlas(tokenizer, counts=counts, source="a test's pictures")
    pictures = torch.rand(4, 3, 40, 48, generator=torch.Generator().manual_seed(3)) * 2 - 1
    atlas |= gather_patches(tokenizer, pictures, source="noise of a test")
    card = "---\nlicense: apache-2.0\n---\n# Tiny\n\nA card for the tests."
    tokenizer.save_pretrained(root / "tiny-regvq", card=card, atlas=atlas)
    tiny(VQConfig(size=SIZE), seed=1).save_pretrained(root / "tiny-vq")
    return root


@pytest.fixture(
    scope="package", autouse=True
)  # undone before tests/e2e, which needs the shipped bundles
def only_these(
    bundles: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[pytest.MonkeyPatch]:
    """Let the app see only the tests' bundles, whatever has been trained on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "CHECKPOINTS", tmp_path_factory.mktemp("none"))
        patch.setattr(bundle, "RUNS", tmp_path_factory.mktemp("no-runs"))
        patch.setenv("REGVQ_CHECKPOINTS", str(bundles))
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        patch.setattr("app.services.scene_counts.SCENES", 3)
        patch.setattr("app.services.scene_counts.SCENE_SIZE", 64)
        yield patch


@pytest.fixture(scope="session")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a picture with structure whose sides are not multiples of the downsampling."""
    y, x = np.mgrid[0:75, 0:101]
    waves = [np.sin(x / 9 + k) + np.cos(y / (7 + k)) for k in range(3)]
    noise = np.random.default_rng(1).normal(0, 0.1, (75, 101, 3))
    pixels = np.clip((np.stack(waves, -1) / 4 + 0.5 + noise) * 255, 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("pictures") / "waves.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Return a file that is named like a picture and is none."""
    path = tmp_path / "list.jpg"
    path.write_text("milk")
    return path


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of warnings that the app gives from here on."""
    texts: list[str] = []
    monkeypatch.setattr("gradio.Warning", lambda text, **_: texts.append(text))
    return texts


@pytest.fixture(scope="session")
def tokenizer(bundles: Path) -> Tokenizer:
    """Return the tokenizer of "tiny-regvq", loaded independently of the app."""
    return Tokenizer.from_pretrained(bundles / "tiny-regvq")


@pytest.fixture(scope="module")
def home(
    bundles: Path, tmp_path_factory: pytest.TempPathFactory, only_these: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Let the app see the tokenizer "tiny-regvq" and priors on its tokens; return their folder."""
    from tests.helpers.tiny_priors import prior_bundles

    names = ("words", "planned", "both", "sketcher", "latents")
    root = prior_bundles(tmp_path_factory.mktemp("priors"), bundles / "tiny-regvq", names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGVQ_CHECKPOINTS", str(root))
        patch.setattr("app.services.priors.preload_prior", lambda handle: None)
        yield root
