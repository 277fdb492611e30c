"""Tests of look_inside.py: the numbers, and that they are drawn where they belong."""

import sys

import look_inside
import pytest
import torch
from PIL import ImageChops
from torch import nn

import train_mnist


def test_templates_and_bias_are_the_model():
    first, second = model = train_mnist.make_model()
    inputs = torch.rand(5, 784, generator=torch.Generator().manual_seed(0))
    bias = second(first.bias)
    scores = inputs @ look_inside.multiply_out(model).reshape(10, 784).T + bias
    torch.testing.assert_close(scores, model(inputs))


def test_other_models_have_no_templates():
    model = nn.Sequential(nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 10))
    with pytest.raises(SystemExit, match="no templates"):
        look_inside.multiply_out(model)


def test_mistakes_are_counted_and_the_first_is_shown():
    targets, predicted = torch.tensor([[5, 5], *12 * [[7, 2]], [3, 7], [3, 7]]).T
    images = torch.arange(15.0).reshape(15, 1, 1, 1).expand(15, 1, 28, 28)
    firsts, counts = look_inside.find_mistakes(images, targets, predicted)
    assert (counts[7, 2], counts[3, 7], counts.sum()) == (12, 2, 14)
    assert (firsts[7, 2, 0, 0, 0], firsts[3, 7, 0, 0, 0]) == (1, 13)


def where(picture, other, columns, rows):
    """Return the cell (row, column) of a grid where alone two pictures differ."""
    left, top, right, bottom = ImageChops.difference(picture, other).getbbox()
    width, height = picture.width / columns, picture.height / rows
    assert right - left <= width and bottom - top <= height
    return int(top / height), int(left / width)


def test_red_speaks_for_a_digit_at_its_place():
    templates = torch.zeros(10, 28, 28)
    templates[:, 0, 0] = 1  # the most, so that the scale stays
    red, blue = templates.clone(), templates.clone()
    red[7, 10, 10], blue[7, 10, 10] = 1, -1
    red, blue = map(look_inside.draw_templates, (red, blue))
    assert where(red, blue, columns=5, rows=2) == divmod(7, 5)
    place = ImageChops.difference(red, blue).getbbox()[:2]
    assert red.getpixel(place)[0] > red.getpixel(place)[2]
    assert blue.getpixel(place)[0] < blue.getpixel(place)[2]


def test_a_mistake_is_drawn_in_its_row_and_column():
    firsts, counts = torch.zeros(10, 10, 1, 28, 28), torch.zeros(10, 10).int()
    empty = look_inside.draw_mistakes(firsts, counts)
    firsts[7, 2] = 1
    image = look_inside.draw_mistakes(firsts, counts)
    assert where(empty, image, columns=11, rows=11) == (8, 3)  # after the headings
    counts[7, 2] = 12
    count = look_inside.draw_mistakes(firsts, counts)
    assert where(image, count, columns=11, rows=11) == (8, 3)


def test_main(small_data, home, monkeypatch, capsys):
    torch.save({"model": train_mnist.make_model().state_dict()}, "saved.pth")
    flags = ["--data-dir", str(small_data), "--checkpoint", "saved.pth"]
    monkeypatch.setattr(sys, "argv", ["look_inside.py", *flags])
    look_inside.main()
    assert capsys.readouterr().out.split() == ["mistakes.png", "templates.png"]
    assert sorted(path.name for path in home.iterdir()) == [
        "mistakes.png",
        "saved.pth",
        "templates.png",
    ]
