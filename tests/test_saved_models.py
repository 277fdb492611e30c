"""What the programs that use a saved model have in common."""

import sys
from pathlib import Path

import classify_photos
import classify_table
import look_inside
import own_picture
import pytest
import torch
from PIL import Image
from torch import nn


class Spy(nn.Module):
    """A model that takes any weights and notes its modes."""

    def __init__(self, modes):
        super().__init__()
        self.modes = modes

    def load_state_dict(self, state):
        pass

    def forward(self, inputs):
        self.modes.append((self.training, torch.is_grad_enabled()))
        return torch.eye(10)[:1].expand(len(inputs), 10)


@pytest.mark.parametrize(
    ("program", "arguments", "saved"),
    [
        (own_picture, ["digit.png"], {}),
        (look_inside, ["--data-dir", "data"], {}),
        (classify_photos, ["digit.png"], {"classes": ["it"]}),
        (classify_table, ["new.csv"], {"classes": ["it"], "columns": ["a", "b"]}),
    ],
)
def test_model_evaluates_on_the_cpu(
    small_data, home, monkeypatch, program, arguments, saved
):
    """Wherever it was trained: weights of a GPU cannot be loaded without one."""
    picture = Image.new("L", (200, 200), "white")
    picture.paste("black", (95, 40, 105, 160))
    picture.save("digit.png")
    Path("new.csv").write_text("a,b\n1,2\n")
    arguments = [str(small_data) if a == "data" else a for a in arguments]
    monkeypatch.setattr(sys, "argv", ["program.py", *arguments])
    devices, modes = [], []

    def load(path, map_location):
        devices.append(map_location)
        return {"model": {}, **saved}

    monkeypatch.setattr(torch, "load", load)
    monkeypatch.setattr(program, "make_model", lambda *_: Spy(modes))
    if program is look_inside:
        monkeypatch.setattr(program, "multiply_out", lambda _: torch.ones(10, 28, 28))
    program.main()
    assert devices == ["cpu"] and modes == [(False, False)]
