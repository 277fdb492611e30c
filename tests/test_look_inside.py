"""look_inside.py counts right, and draws each thing where it belongs."""

import os
import sys

import look_inside
import pytest
import torch
from torch import nn
from torch.nn.functional import adaptive_max_pool2d
from torchvision.transforms.functional import to_tensor

import train_mnist


def test_templates_and_a_bias_are_the_model():
    _, first, second = model = train_mnist.make_model()
    inputs = torch.rand(5, 784)
    templates = look_inside.multiply_out(model).reshape(10, 784)
    scores = inputs @ templates.T + second(first.bias)
    assert torch.allclose(scores, model(inputs), rtol=0, atol=1e-5)


def changed_cells(picture, other, rows, columns):
    """Return the row and the column of each cell in which two pictures differ."""
    difference = to_tensor(picture) - to_tensor(other)
    cells = adaptive_max_pool2d(difference.abs(), (rows, columns)).amax(dim=0)
    return cells.nonzero().tolist()


def test_red_raises_a_score_and_blue_lowers_it():
    templates = torch.zeros(10, 28, 28)
    templates[7] = 1
    red, blue = map(look_inside.draw_templates, (templates, -templates))
    assert changed_cells(red, blue, rows=2, columns=5) == [[1, 2]]
    difference = (to_tensor(red) - to_tensor(blue)).mean(dim=(1, 2))
    assert difference[0] > 0 > difference[2]  # more red, less blue


def test_mistakes_are_counted_and_the_first_is_drawn_in_its_row_and_column():
    draw = look_inside.draw_mistakes
    dark, light = torch.ones(1, 28, 28), torch.zeros(1, 28, 28)
    none = draw([], [], [])
    one = draw([dark, dark], [5, 7], [5, 2])
    two = draw([dark, dark, light], [5, 7, 7], [5, 2, 2])
    assert changed_cells(none, one, rows=11, columns=11) == [[8, 3]]  # after headings
    assert changed_cells(one, two, rows=11, columns=11) == [[8, 3]]
    assert two.getpixel((3 * 72 + 36, 8 * 76 + 36)) == (0, 0, 0)  # the first image


def test_other_models_have_mistakes_but_no_templates(small_data, home, monkeypatch):
    flags = ["--data-dir", str(small_data), "--checkpoint", "saved.pth"]
    monkeypatch.setattr(sys, "argv", ["look_inside.py", *flags])
    other = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(784, 10))
    torch.save({"model": other.state_dict()}, "saved.pth")
    monkeypatch.setattr(look_inside, "make_model", lambda: other)
    with pytest.raises(SystemExit, match="no templates"):
        look_inside.main()
    assert {*os.listdir()} == {"mistakes.png", "saved.pth"}
    torch.save(train_mnist.make_model().state_dict(), "saved.pth")
    monkeypatch.setattr(look_inside, "make_model", train_mnist.make_model)
    samples, draw = train_mnist.read_mnist(small_data, False), look_inside.draw_mistakes

    def spy(images, targets, predicted):
        assert list(targets) == [digit for _, digit in samples] != list(predicted)
        return draw(images, targets, predicted)

    monkeypatch.setattr(look_inside, "draw_mistakes", spy)
    look_inside.main()
    assert {*os.listdir()} == {"mistakes.png", "templates.png", "saved.pth"}
