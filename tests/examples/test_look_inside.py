"""Tests of examples/look_inside.py: colours, digits and counts where they belong."""

import math
import re
import sys

import look_inside
import pytest
import torch
from PIL import ImageChops
from torch import nn

OWN = look_inside.make_model()
OTHER = nn.Sequential(nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 10))


@pytest.fixture
def nearest(monkeypatch):
    texts = {}  # {place: what is written there}
    monkeypatch.setattr(
        look_inside, "write", lambda _, text, *xy, **style: texts.update({xy: text})
    )
    return lambda *place: texts[min(texts, key=lambda xy: math.dist(xy, place))]


@pytest.mark.parametrize("digit", range(10))
def test_red_speaks_for_the_digit_above_it(digit, nearest):
    model = nn.Sequential(nn.Linear(784, 3), nn.Linear(3, 10)).requires_grad_(False)
    first, second = (layer.weight.zero_() for layer in model)
    first[1, 28 * 5 + 20] = second[digit, 1] = 1  # a pixel right of the middle
    templates = look_inside.multiply_out(model)
    red, blue = map(look_inside.draw_templates, (templates, -templates))
    x, y, *_ = ImageChops.difference(red, blue).getbbox()
    assert red.getpixel((x, y)) == (191, 0, 25) and blue.getpixel((x, y))[2] == 191
    assert nearest(x, y) == nearest(x - 30, y - 40) == str(digit)
    assert red.getpixel((251, 388))[2] == red.getpixel((568, 388))[0] == 191
    assert "against" in nearest(251, 388) and "+1.00  for" in nearest(568, 388)


def test_a_mistake_is_in_the_row_it_is_and_the_column_it_is_taken_for(nearest):
    targets, predicted = torch.tensor([[5, 5], *12 * [[7, 2]], [3, 7], [3, 7]]).T
    images = torch.zeros(2, 15, 1, 28, 28)
    images[1, 1] = 1  # the first of the twelve
    before, after = (look_inside.draw_mistakes(i, targets, predicted) for i in images)
    x, y, *_ = ImageChops.difference(before, after).getbbox()
    assert (nearest(x, y), nearest(40, y), nearest(x, 40)) == ("12", "7", "2")
    assert (nearest(0, 436), nearest(436, 0)) == ("is", "taken for")


@pytest.mark.parametrize(
    ("saved", "made", "flags", "result"),
    [
        (OWN, OWN, [], "mistakes.png\ntemplates.png\n"),
        (OWN, OWN, ["--checkpoint", "x"], "error: .* at x, run train_mnist.py first"),
        (OWN, OWN, ["--out", "x"], "error: cannot save x.*"),
        (OTHER, OWN, [], "error: cannot read .*two linear layers.*"),
        (OTHER, OTHER, [], "mistakes.png\nerror: no templates: .*"),
    ],
)
def test_main(saved, made, flags, result, small_data, home, monkeypatch, capsys):
    torch.save(saved.state_dict(), "mnist_dnn_model.pth")
    monkeypatch.setattr(look_inside, "make_model", lambda: made)
    monkeypatch.setattr(sys, "argv", ["", "--data-dir", str(small_data), *flags])
    with pytest.raises(SystemExit) as stop:
        sys.exit(look_inside.main() or "")
    assert re.fullmatch(result, "".join(capsys.readouterr()) + stop.value.code)
