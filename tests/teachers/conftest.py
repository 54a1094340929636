"""A net of timm, trained in a plain loop that knows nothing of this project, and saved as safetensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from abroad import ARCHITECTURE, Abroad, pixels
from safetensors.torch import save_file
from torch.nn import functional as F

from kdengine.data import DatasetBundle, load_dataset
from kdengine.workspace import Workspace


@pytest.fixture(scope="session")
def digits(furnished: Path) -> DatasetBundle:
    workspace = Workspace(furnished)
    return load_dataset("digits", workspace.datasets, 16, cache=workspace.cache)


@pytest.fixture(scope="session")
def abroad(digits: DatasetBundle, tmp_path_factory: pytest.TempPathFactory) -> Abroad:
    torch.manual_seed(0)
    net = timm.create_model(ARCHITECTURE, num_classes=10)
    pictures, labels = pixels(digits.train), torch.tensor(digits.train.labels)
    optimizer = torch.optim.AdamW(net.parameters(), 5e-3)
    for _ in range(4):
        for rows in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(net(pictures[rows]), labels[rows]).backward()
            optimizer.step()
    file = tmp_path_factory.mktemp("abroad") / "net.safetensors"
    save_file(net.state_dict(), file)
    return Abroad(net.eval(), file)
