"""A net that was trained elsewhere, and the words that import it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.data import DatasetBundle

ARCHITECTURE = "test_efficientnet"
HEAD = "classifier"


class Abroad(NamedTuple):
    """The net, its file, and what its maker would tell: pixels go in as (x - 0.5) / 0.25."""

    net: nn.Module
    file: Path

    def words(self, name: str, file: Path | None = None) -> list[str]:
        """The command line that imports it."""
        where = ["--weights", str(file or self.file), "--model", f"timm/{ARCHITECTURE}", "--image-size", "16"]
        return ["import", name, *where, "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"]

    def permuted(self, folder: Path, order: list[int]) -> Path:
        """A file whose classifier has row ``order[k]`` in place k."""
        state = load_file(self.file)
        for part in ("weight", "bias"):
            state[f"{HEAD}.{part}"] = state[f"{HEAD}.{part}"][order].contiguous()
        save_file(state, folder / "permuted.safetensors")
        return folder / "permuted.safetensors"


def train_abroad(digits: DatasetBundle, folder: Path) -> Abroad:
    """A small net of timm, trained for some seconds in a plain loop that knows nothing of this project."""
    torch.manual_seed(0)
    net = timm.create_model(ARCHITECTURE, num_classes=10)
    images, labels = pixels(digits.train), torch.tensor(digits.train.labels)
    optimizer = torch.optim.AdamW(net.parameters(), 5e-3)
    for _ in range(4):
        for rows in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(net(images[rows]), labels[rows]).backward()
            optimizer.step()
    save_file(net.state_dict(), folder / "net.safetensors")
    return Abroad(net.eval(), folder / "net.safetensors")


def pixels(part: Any) -> Tensor:
    """All images of a part as its net wants them."""
    images = torch.from_numpy(part.take(np.arange(len(part)))).permute(0, 3, 1, 2).float() / 255
    return (images - 0.5) / 0.25
