"""Write a small random MaskGIT tokenizer with its authors' JAX code, and what it makes of pictures.

Run by ``tests.helpers.peers``: ``python write_jax_peer.py FOLDER``. FOLDER/weights.npz holds the
weights under the names of the PyTorch ports (open-muse, 1d-tokenizer), which the published files
have; FOLDER/reference.npz pictures in [0, 1], latents, ids and reconstructions, channels last.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import ml_collections
import numpy as np
from maskgit.nets.vqgan_tokenizer import VQVAE

SIZES = ((2, 20, 36),)  # of each further one, JAX would compile every operation
MULTIPLIERS, BLOCKS = (1, 2, 2), 2
SETTINGS = {
    "quantizer": "vq", "codebook_size": 60, "filters": 32, "num_res_blocks": BLOCKS,
    "channel_multipliers": MULTIPLIERS, "embedding_dim": 16, "conv_downsample": False,
    "activation_fn": "swish", "norm_type": "GN", "entropy_loss_ratio": 0.0,
    "commitment_cost": 0.25, "entropy_loss_type": "softmax", "entropy_temperature": 0.01,
}  # fmt: skip


def kernel(x: np.ndarray) -> np.ndarray:
    """(h, w, in, out) as PyTorch has it."""
    return np.ascontiguousarray(x.transpose(3, 2, 0, 1))


def put(state: dict, name: str, layer: dict) -> None:
    for theirs, ours in (("kernel", "weight"), ("scale", "weight"), ("bias", "bias")):
        if theirs in layer:
            value = np.asarray(layer[theirs])
            state[f"{name}.{ours}"] = kernel(value) if theirs == "kernel" else value


def put_block(state: dict, name: str, block: dict) -> None:
    parts = ("norm1", "GroupNorm_0"), ("conv1", "Conv_0"), ("norm2", "GroupNorm_1")
    for ours, theirs in (*parts, ("conv2", "Conv_1"), ("nin_shortcut", "Conv_2")):
        if theirs in block:
            put(state, f"{name}.{ours}", block[theirs])


def ported(params: dict) -> dict[str, np.ndarray]:
    """flax numbers layers in the order of their calls."""
    state: dict[str, np.ndarray] = {}
    levels = len(MULTIPLIERS)
    encoder, decoder = params["encoder"], params["decoder"]
    put(state, "encoder.conv_in", encoder["Conv_0"])
    put(state, "encoder.norm_out", encoder["GroupNorm_0"])
    put(state, "encoder.conv_out", encoder["Conv_1"])
    names = [f"encoder.down.{i}.block.{j}" for i in range(levels) for j in range(BLOCKS)]
    names += [f"encoder.mid.{j}" for j in range(BLOCKS)]
    for number, name in enumerate(names):
        put_block(state, name, encoder[f"ResBlock_{number}"])
    put(state, "decoder.conv_in", decoder["Conv_0"])
    names = [f"decoder.mid.{j}" for j in range(BLOCKS)]
    coarse_first = range(levels - 1, -1, -1)
    names += [f"decoder.up.{i}.block.{j}" for i in coarse_first for j in range(BLOCKS)]
    for number, name in enumerate(names):
        put_block(state, name, decoder[f"ResBlock_{number}"])
    for number, level in enumerate(coarse_first[:-1], start=1):
        put(state, f"decoder.up.{level}.upsample_conv", decoder[f"Conv_{number}"])
    put(state, "decoder.norm_out", decoder["GroupNorm_0"])
    put(state, "decoder.conv_out", decoder[f"Conv_{levels}"])
    state["quantize.embedding.weight"] = np.asarray(params["quantizer"]["codebook"])
    return state


def main(folder: Path) -> None:
    config = ml_collections.ConfigDict({"vqvae": SETTINGS})
    model = VQVAE(config=config, train=False)
    rng = np.random.default_rng(0)
    images = [rng.random((b, h, w, 3), dtype=np.float32) for b, h, w in SIZES]

    def whole(module: VQVAE, x: np.ndarray) -> object:
        return module.decode(module.encode({"image": x})[0])

    params = model.init(jax.random.PRNGKey(0), images[0], method=whole)["params"]
    params = jax.tree_util.tree_map(
        lambda x: np.asarray(x) + 0.05 * rng.standard_normal(x.shape).astype(np.float32), params
    )
    # Pictures mostly in [0, 1], as a trained network's: rounding errors are relative.
    params["decoder"][f"Conv_{len(MULTIPLIERS)}"]["kernel"] *= 0.1

    def latents(x: np.ndarray) -> np.ndarray:
        def raw(module: VQVAE, x: np.ndarray) -> object:
            return module.encode({"image": x})[1]["raw"]

        return np.asarray(model.apply({"params": params}, x, method=raw))

    rows = np.concatenate([latents(x).reshape(-1, 16) for x in images])
    table = rng.standard_normal((60, 16)).astype(np.float32) * rows.std(0) + rows.mean(0)
    params["quantizer"]["codebook"] = table
    found = {}
    for number, x in enumerate(images):
        ids = model.apply({"params": params}, x, method=model.encode_to_indices)
        painted = model.apply({"params": params}, ids, method=model.decode_from_indices)
        for name, value in (("images", x), ("ids", ids), ("painted", painted)):
            found[f"{name}{number}"] = np.asarray(value)
        found[f"latents{number}"] = latents(x)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "weights.npz", **ported(params))
    np.savez(folder / "reference.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
