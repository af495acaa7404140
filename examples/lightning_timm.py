"""A network of timm on one shard, trained by Lightning.

    python examples/lightning_timm.py spectral/photos-q4/spectral-03 3 --model resnet18 --epochs 20

Each machine runs this on its own spectral folder. What comes out is a Lightning checkpoint; for branches that
`spectral-ensemble` combines, train the same network with `spectral-train --model timm:resnet18`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lightning
import timm
import torch
from torch import Tensor, nn

from spectral_train.data.augment import Augmenter, SpectralInput
from spectral_train.data.loader import ShardLoader
from spectral_train.data.shard import Shard, open_shard
from spectral_train.recipe.augmentation import Augmentation


class Branch(lightning.LightningModule):
    """A timm network with as many input channels as the shard has, and its classes."""

    def __init__(self, shard: Shard, model: str, lr: float = 1e-3) -> None:
        super().__init__()
        self.network = timm.create_model(model, in_chans=shard.input_shape[0], num_classes=len(shard.classes))
        self.lr = lr

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        x, y = batch
        return nn.functional.cross_entropy(self.network(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a network of timm on one shard.")
    parser.add_argument("data", type=Path, help="a data set, or the spectral folder of the shard")
    parser.add_argument("shard", type=int)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("branch.ckpt"))
    chosen = parser.parse_args()
    shard = open_shard(chosen.data, chosen.shard)
    shift = Augmenter.of(Augmentation.parse("shift"), SpectralInput.of(shard))
    trainer = lightning.Trainer(max_epochs=chosen.epochs, logger=False, enable_checkpointing=False)
    trainer.fit(Branch(shard, chosen.model), ShardLoader(shard, batch_size=64, seed=0, change=shift))
    trainer.save_checkpoint(chosen.out)


if __name__ == "__main__":
    main()
