"""own_picture.py reads pictures of many kinds, made of digits of the test set."""

import itertools
import re
import sys
from pathlib import Path

import own_picture
import pytest
import torch
from documents import block
from helpers import CHECKPOINT, ROOT
from PIL import Image, ImageChops, ImageOps, ImageStat
from torchvision.datasets import MNIST

TEST_SET = MNIST(ROOT / "datasets", train=False)
INKS = {  # the first five digits, enlarged
    digit: image.resize((420, 420)) for image, digit in itertools.islice(TEST_SET, 5)
}
BLUE, WHITE, GREEN, BROWN = (20, 20, 60), (250, 250, 245), (30, 70, 40), (60, 40, 30)


@pytest.fixture
def read(first_run, home, monkeypatch, capsys):
    """A function that runs the program and returns the lines it prints."""
    torch.save({"epoch": 2, "model": torch.load(first_run[0] / CHECKPOINT)}, CHECKPOINT)

    def read(*arguments):
        monkeypatch.setattr(sys, "argv", ["own_picture.py", *arguments])
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)  # the program lifts it
        own_picture.main()
        return capsys.readouterr().out.splitlines()

    return read


def paint(ink, color=BLUE, paper=WHITE, border=(190, 290)):
    """Return a sheet of paper with the ink in its middle."""
    return ImageOps.expand(ImageOps.colorize(ink, paper, color), border, paper)


def sideways(ink):
    """A ruled page that a camera held sideways; its file says how to turn it."""
    page = paint(ink)
    for y in range(40, 1000, 80):
        page.paste((110, 120, 150), (0, y, 800, y + 3))
    page = page.transpose(Image.Transpose.ROTATE_90)
    page.getexif()[0x0112] = 6  # to be turned clockwise
    return page


def on_a_desk(ink):
    turned = paint(ink).rotate(7, expand=True, fillcolor=BROWN)
    return ImageOps.expand(turned, 150, BROWN)


def in_shadow(ink):
    page = paint(ink)
    light = Image.radial_gradient("L").resize(page.size).convert("RGB")
    return Image.blend(page, ImageChops.multiply(page, light), 0.7)


def at_the_rim(ink):
    left = ink.getbbox()[0] + 20  # past the soft edge
    return paint(ink, border=0).crop((left, 0, *ink.size))


def on_a_blackboard(ink):
    return paint(ink.resize((70, 70)), WHITE, GREEN, border=(715, 965))


def transparent(ink):
    return Image.merge("LA", [Image.new("L", ink.size, "white"), ink])


KINDS = [sideways, on_a_desk, in_shadow, at_the_rim, on_a_blackboard, transparent]


@pytest.mark.parametrize("kind", KINDS)
def test_kind_of_picture(kind, read):
    """At least four of the five digits are read."""
    for digit, ink in INKS.items():
        picture = kind(ink)
        picture.save(f"{digit}.png", exif=picture.getexif())
    lines = read(*(f"{digit}.png" for digit in INKS))
    starts = [f"{digit}.png: {digit} (" for digit in INKS]
    assert sum(map(str.startswith, lines, starts)) >= 4


def test_grey_of_16_bits_is_read_as_that_of_8(home):
    ink = INKS[7]
    ink.save("8.png")
    ink.convert("I").point(lambda grey: 257 * grey).convert("I;16").save("16.png")
    expected, picture = map(own_picture.read_picture, ("8.png", "16.png"))
    torch.testing.assert_close(picture, expected[:1], atol=0.02, rtol=0)


@pytest.mark.parametrize("digit", INKS)
def test_digit_has_20_of_28_pixels_also_beside_specks(home, digit):
    page = paint(INKS[digit])
    for x, y in ((60, 70), (740, 80), (50, 930), (720, 940)):
        page.paste(BLUE, (x, y, x + 12, y + 12))
    page.save("page.png")
    image = own_picture.like_mnist(own_picture.read_picture("page.png"))
    ink = image[0] > 0.1
    assert 19 <= max(ink.any(dim=0).sum(), ink.any(dim=1).sum()) <= 21


def test_checkpoint_of_own_pictures_is_refused(read):
    """Its model has not seen pictures like those of MNIST."""
    torch.save({**torch.load(CHECKPOINT), "classes": ["a", "b"]}, CHECKPOINT)
    with pytest.raises(SystemExit, match=f"error: {CHECKPOINT} is for classify_photos"):
        read("seven.png")


def test_separate_strokes_are_one_digit_and_shown(read):
    page = paint(INKS[7], border=0)
    page.paste(WHITE, (0, 160, 420, 170))  # parts the bar from the rest
    page.save("my.png")
    assert read("my.png")[1:] == ["What the model was shown: shown.png"]
    shown = Image.open("shown.png").convert("L")
    assert shown.size == (280, 280)
    difference = ImageChops.difference(shown.resize((420, 420)), INKS[7])
    assert ImageStat.Stat(difference).mean[0] < 15


def test_a_line_for_each_picture(read, capsys):
    paint(INKS[7]).save("seven.jpg")
    Path("cut.jpg").write_bytes(Path("seven.jpg").read_bytes()[:-500])
    Path("phone.png").write_bytes(b"\0\0\0\x18ftypheic and so on")
    Image.new("L", (600, 600), "white").save("blank.png")
    paths = ("missing.png", "blank.png", "cut.jpg", "phone.png", "seven.jpg")
    with pytest.raises(SystemExit, match="1"):
        read(*paths)
    lines = capsys.readouterr().out.splitlines()
    words = ("No such file", "no digit", "truncated", "identify", "7 (")
    for line, path, word in zip(lines, paths, words):
        assert line.startswith(f"{path}: ") and word in line
    percents = re.findall(r"(\d+) %", lines[-2])
    assert len(percents) == 3 and sum(map(int, percents)) > 50


def test_command_of_the_readme_and_both_kinds_of_checkpoints(read, first_run):
    program, picture = block("sh own").split()[1:]
    assert Path(own_picture.__file__) == ROOT / program
    paint(INKS[7]).save(picture)
    lines = read(picture)
    Path(CHECKPOINT).unlink()
    assert read(picture, "--checkpoint", str(first_run[0] / CHECKPOINT)) == lines
