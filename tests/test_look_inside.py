"""look_inside.py counts right, and draws each thing where it belongs."""

import os
import sys

import look_inside
import pytest
import torch
from PIL import ImageChops
from torch import nn

import train_mnist


def test_templates_and_a_bias_are_the_model():
    _, first, second = model = train_mnist.make_model()
    inputs = torch.rand(5, 784)
    templates = look_inside.multiply_out(model).reshape(10, 784)
    torch.testing.assert_close(
        inputs @ templates.T + second(first.bias), model(inputs), atol=1e-5, rtol=0
    )


def test_mistakes_are_counted_and_the_first_is_kept():
    targets, predicted = torch.tensor([[5, 5], *12 * [[7, 2]], [3, 7], [3, 7]]).T
    images = torch.arange(15.0).reshape(15, 1, 1, 1).expand(15, 1, 28, 28)
    firsts, counts = look_inside.find_mistakes(images, targets, predicted)
    assert (counts[7, 2], counts[3, 7], counts.sum()) == (12, 2, 14)
    assert (firsts[7, 2, 0, 0, 0], firsts[3, 7, 0, 0, 0]) == (1, 13)


def changed_cell(picture, other, columns, rows):
    """Return the row and the column of the only cell in which two pictures differ."""
    left, top, right, bottom = ImageChops.difference(picture, other).getbbox()
    width, height = picture.width // columns, picture.height // rows
    assert left // width == (right - 1) // width
    assert top // height == (bottom - 1) // height
    return top // height, left // width


def test_red_raises_a_score_and_blue_lowers_it():
    templates = torch.zeros(10, 28, 28)
    templates[0, 0, 0] = 1  # the largest value, which sets the scale
    red, blue = templates.clone(), templates.clone()
    red[7], blue[7] = 1, -1
    red, blue = map(look_inside.draw_templates, (red, blue))
    assert changed_cell(red, blue, columns=5, rows=2) == (1, 2)
    pixel = (int(red.width * 2.5 / 5), int(red.height * 1.6 / 2))
    assert red.getpixel(pixel)[0] > red.getpixel(pixel)[2]
    assert blue.getpixel(pixel)[0] < blue.getpixel(pixel)[2]


def test_a_mistake_is_drawn_in_its_row_and_column():
    firsts, counts = torch.zeros(10, 10, 1, 28, 28), torch.zeros(10, 10).int()
    empty = look_inside.draw_mistakes(firsts, counts)
    firsts[7, 2] = 1
    image = look_inside.draw_mistakes(firsts, counts)
    assert changed_cell(empty, image, columns=11, rows=11) == (8, 3)  # after headings
    counts[7, 2] = 12
    count = look_inside.draw_mistakes(firsts, counts)
    assert changed_cell(image, count, columns=11, rows=11) == (8, 3)


@pytest.fixture
def look(small_data, home, monkeypatch):
    """A function that runs the program on a model."""

    def look(model):
        torch.save({"model": model.state_dict()}, "saved.pth")
        flags = ["--data-dir", str(small_data), "--checkpoint", "saved.pth"]
        monkeypatch.setattr(sys, "argv", ["look_inside.py", *flags])
        monkeypatch.setattr(look_inside, "make_model", lambda: model)
        look_inside.main()

    return look


def test_both_pictures_are_saved(look):
    look(train_mnist.make_model())
    assert {*os.listdir()} == {"mistakes.png", "templates.png", "saved.pth"}


def test_other_models_have_mistakes_but_no_templates(look):
    with pytest.raises(SystemExit, match="no templates"):
        look(nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(784, 10)))
    assert {*os.listdir()} == {"mistakes.png", "saved.pth"}
