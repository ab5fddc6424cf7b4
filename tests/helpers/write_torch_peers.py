"""Write small random tokenizers with their authors' own code, and what that code makes of pictures.

Run by ``tests.helpers.peers``: ``python write_torch_peers.py FOLDER``. For each family FOLDER/NAME
holds the weights in the published container and ``reference.pt``: pictures, latents, ids and
reconstructions.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

# Batches and grids that are neither square nor even; f is 4 in all networks here.
SIZES = ((2, 20, 36), (3, 12, 4), (1, 64, 64))
CODES, DIM, Z = 60, 16, 24
NETWORK = {
    "double_z": False, "z_channels": Z, "resolution": 32, "in_channels": 3, "out_ch": 3, "ch": 32,
    "ch_mult": [1, 2, 2], "num_res_blocks": 2, "attn_resolutions": [8], "dropout": 0.0,
}  # fmt: skip
Step = Callable[[Tensor], Tensor]


@torch.no_grad()
def write(
    folder: Path, *, latents: Step, choose: Step, paint: Step, table: Tensor | None, save: Callable
) -> None:
    """Spread the codes over the latents, save the weights, and write the reference."""
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(b, 3, h, w, generator=generator) * 2 - 1 for b, h, w in SIZES]
    if table is not None:
        z = torch.cat([latents(x).permute(0, 2, 3, 1).reshape(-1, table.shape[1]) for x in images])
        table.copy_(torch.randn(table.shape, generator=generator) * z.std(0) + z.mean(0))
    folder.mkdir(parents=True)
    save(folder)
    found = [latents(x) for x in images]
    ids = [choose(z).reshape(len(z), *z.shape[2:]) for z in found]
    painted = [paint(i).clamp(-1, 1) for i in ids]
    reference = {"images": images, "latents": found, "ids": ids, "painted": painted}
    torch.save(reference, folder / "reference.pt")


def shaken(module: nn.Module) -> nn.Module:
    """A tokenizer whose norms and biases matter, too."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        module.decoder.conv_out.weight.mul_(0.2)  # pictures mostly within [-1, 1], as real ones
    return module.eval()


class Taming(nn.Module):
    """taming's VQModel without Lightning: its parts by their names."""

    def __init__(self, encoder: type, decoder: type, quantize: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(**NETWORK), decoder(**NETWORK)
        self.quantize = quantize
        self.quant_conv = nn.Conv2d(Z, DIM, 1)
        self.post_quant_conv = nn.Conv2d(DIM, Z, 1)

    def latents(self, images: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(images))

    def paint(self, codes: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(codes))


def looked_up(table: Tensor) -> Step:
    return lambda ids: F.embedding(ids, table).permute(0, 3, 1, 2)


def write_taming(root: Path) -> None:
    from taming.modules.diffusionmodules.model import Decoder, Encoder
    from taming.modules.vqvae.quantize import GumbelQuantize, VectorQuantizer2

    model = shaken(Taming(Encoder, Decoder, VectorQuantizer2(CODES, DIM, beta=0.25)))
    table = model.quantize.embedding.weight
    steps = dict(  # noqa: C408
        latents=model.latents,
        choose=lambda z: model.quantize(z)[2][2],
        paint=lambda ids: model.paint(looked_up(table)(ids)),
    )

    def lightning(folder: Path) -> None:
        save_by_lightning(model, folder / "last.ckpt")
        params = {"embed_dim": DIM, "n_embed": CODES, "ddconfig": NETWORK}
        target = "taming.models.vqgan.VQModel"
        described = {"model": {"target": target, "params": params}}
        (folder / "model.yaml").write_text(yaml.safe_dump(described))

    write(root / "taming", table=table, save=lightning, **steps)

    def legacy(folder: Path) -> None:
        state = {"state_dict": model.state_dict()}
        torch.save(state, folder / "last.ckpt", _use_new_zipfile_serialization=False)

    write(root / "taming-legacy", table=table, save=legacy, **steps)

    def first_stage(folder: Path) -> None:
        inner = {f"first_stage_model.{name}": x for name, x in model.state_dict().items()}
        others = {"model.diffusion_model.out.weight": torch.ones(3), "scale_factor": torch.ones(())}
        torch.save({"state_dict": inner | others, "epoch": 3}, folder / "model.ckpt")

    write(root / "latent-diffusion", table=table, save=first_stage, **steps)

    def halves(folder: Path) -> None:
        model.half().float()  # the reference has the rounded weights
        torch.save({name: x.half() for name, x in model.state_dict().items()}, folder / "half.pth")

    write(root / "taming-half", table=table, save=halves, **steps)

    gumbel = shaken(Taming(Encoder, Decoder, GumbelQuantize(DIM, DIM, CODES)))
    with torch.no_grad():
        gumbel.quantize.proj.weight.normal_()  # logits that differ
    write(
        root / "taming-gumbel", latents=gumbel.latents, table=None,
        choose=lambda z: gumbel.quantize.proj(z).argmax(1),
        paint=lambda ids: gumbel.paint(looked_up(gumbel.quantize.embed.weight)(ids)),
        save=lambda folder: torch.save({"state_dict": gumbel.state_dict()}, folder / "last.ckpt"),
    )  # fmt: skip


def save_by_lightning(model: nn.Module, file: Path) -> None:
    """Save a training checkpoint: optimizer states, callbacks, hyperparameters, a loss network."""
    import pytorch_lightning as lightning
    from pytorch_lightning.callbacks import ModelCheckpoint

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"lr": 1e-4, "betas": (0.5, 0.9)})
            for name, part in model.named_children():
                setattr(self, name, part)
            self.loss = nn.ModuleDict({"discriminator": nn.Conv2d(3, 8, 3)})

        def training_step(self, batch: Tensor, index: int) -> Tensor:
            return model.latents(batch).square().mean() * 0 + sum(
                p.sum() * 0 for p in self.loss.parameters()
            )

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=0.0)

    with torch.enable_grad():
        trainer = lightning.Trainer(
            max_steps=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
            accelerator="cpu", default_root_dir=file.parent,
            callbacks=[ModelCheckpoint(dirpath=file.parent / "kept", save_last=False)],
        )  # fmt: skip
        trainer.fit(Module(), torch.utils.data.DataLoader(torch.rand(2, 3, 32, 32), batch_size=2))
        trainer.save_checkpoint(file)
    model.eval()


def loaded(path: str) -> object:
    """A file of ``openimagetokenizer``, whose packages import more than is installed."""
    file = Path(str(distribution("openimagetokenizer").locate_file(path)))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_ibq(root: Path) -> None:
    networks = loaded("OpenImageTokenizer/IBQ/modules/diffusionmodules/model.py")
    quantizers = loaded("OpenImageTokenizer/IBQ/modules/vqvae/quantize.py")
    ema = loaded("OpenImageTokenizer/IBQ/modules/ema.py")
    NETWORK["num_res_blocks"] = 4
    quantize = quantizers.IndexPropagationQuantize(CODES, DIM)
    model = shaken(Taming(networks.Encoder, networks.Decoder, quantize))
    averages = ema.LitEma(model)
    table = model.quantize.embedding.weight

    def save(folder: Path) -> None:
        state = model.state_dict()
        averages.load_state_dict(ema.LitEma(model).state_dict())
        plain = {name: x + 1 for name, x in state.items()}  # the averages are what counts
        averaged = {f"model_ema.{name}": x for name, x in averages.state_dict().items()}
        torch.save({"state_dict": plain | averaged}, folder / "imagenet256.ckpt")
        params = {"embed_dim": DIM, "n_embed": CODES, "ddconfig": NETWORK, "l2_normalize": False}
        described = {"class_path": "OpenImageTokenizer.IBQ.models.ibqgan.IBQ", "init_args": params}
        (folder / "ibq.yaml").write_text(yaml.safe_dump({"model": described}))

    write(
        root / "ibq", latents=model.latents, table=table, save=save,
        choose=lambda z: model.quantize(z)[2][2],
        paint=lambda ids: model.paint(looked_up(table)(ids)),
    )  # fmt: skip
    NETWORK["num_res_blocks"] = 2


def write_improved(root: Path) -> None:
    from open_magvit2.taming.modules.diffusionmodules.improved_model import Decoder, Encoder
    from open_magvit2.taming.modules.vqvae.lookup_free_quantize import LFQ

    bits = 6
    sizes = {name: NETWORK[name] for name in ("ch", "out_ch", "in_channels", "num_res_blocks")}
    sizes |= {"ch_mult": [1, 2, 2], "resolution": 32, "double_z": False}

    class Improved(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.encoder = Encoder(z_channels=dim, **sizes)
            self.decoder = Decoder(z_channels=dim, **sizes)

    model, lfq = shaken(Improved(bits)), LFQ(dim=bits, codebook_size=2**bits)
    with torch.no_grad():
        model.encoder.conv_out.weight.mul_(8)
    described = {
        "ddconfig": {**sizes, "z_channels": bits}, "embed_dim": bits, "n_embed": 2**bits,
    }  # fmt: skip

    def save(folder: Path) -> None:
        torch.save({"state_dict": model.state_dict()}, folder / "magvit2.ckpt")
        text = yaml.safe_dump({"model": {"init_args": described}})
        (folder / "magvit2.yaml").write_text(text)

    def paint(ids: Tensor) -> Tensor:
        signs = lfq.get_codebook_entry(ids.flatten(1), (*ids.shape, bits), "")
        return model.decoder(signs)

    write(
        root / "open-magvit2", latents=model.encoder, table=None, save=save, paint=paint,
        choose=lambda z: lfq.bits_to_indices((z > 0).permute(0, 2, 3, 1)),
    )  # fmt: skip

    class Unconditional(nn.Module):  # SimVQ has the same decoder without its adaptive norms
        def forward(self, x: Tensor, style: Tensor) -> Tensor:
            return x

    simvq = shaken(Improved(DIM))
    simvq.decoder.adaptive = nn.ModuleList(Unconditional() for _ in simvq.decoder.adaptive)
    simvq.quantize = nn.Module()
    simvq.quantize.embedding = nn.Embedding(CODES, DIM)
    simvq.quantize.embedding_proj = nn.Linear(DIM, DIM)

    def codes() -> Tensor:
        return simvq.quantize.embedding_proj(simvq.quantize.embedding.weight)

    write(
        root / "simvq", latents=simvq.encoder, table=simvq.quantize.embedding.weight,
        choose=lambda z: torch.cdist(z.permute(0, 2, 3, 1).flatten(0, 2), codes()).argmin(1),
        paint=lambda ids: simvq.decoder(looked_up(codes())(ids)),
        save=lambda folder: torch.save({"state_dict": simvq.state_dict()}, folder / "simvq.ckpt"),
    )  # fmt: skip


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write_taming(target)
    write_ibq(target)
    write_improved(target)
