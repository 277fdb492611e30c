"""The example that reads one's own picture, given pictures of every kind."""

import io
import sys

import own_picture
import pytest
from conftest import ROOT
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps
from torchvision.transforms.functional import to_pil_image

import train_mnist

BLUE, WHITE, DESK = (20, 20, 60), (250, 250, 245), (60, 40, 30)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "model.pth"
    flags = ["--epochs", "1", "--lr", "0.1", "--device", "cpu", "--checkpoint", path]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train_mnist.py", *map(str, flags)])
        train_mnist.main()
    return path


@pytest.fixture
def read(checkpoint, tmp_path, monkeypatch, capsys):
    """Run the example on a picture or a path; return its output and its complaint."""

    def run(picture, *flags):
        path = picture
        if isinstance(picture, Image.Image):
            path = tmp_path / "picture.png"
            picture.save(path, exif=picture.getexif())
        shown = ("--shown", tmp_path / "shown.png")
        argv = ["", path, "--checkpoint", checkpoint, *shown, *flags]
        monkeypatch.setattr(sys, "argv", [*map(str, argv)])
        try:
            own_picture.main()
        except SystemExit as stop:
            return capsys.readouterr().out, stop.code
        return capsys.readouterr().out, None

    return run


def paint(ink, color=BLUE, paper=WHITE, size=(420, 420)):
    page = Image.new("RGB", size, paper)
    corner = ((size[0] - 420) // 2, (size[1] - 420) // 2)
    page.paste(color, (*corner, corner[0] + 420, corner[1] + 420), ink)
    return page


def on_desk(ink, angle=0, size=(1100, 1300)):
    page = paint(ink, size=(800, 1000)).convert("RGBA").rotate(angle, expand=True)
    desk = Image.new("RGB", size, DESK)
    desk.paste(page, [(a - b) // 2 for a, b in zip(size, page.size)], page)
    return desk


def under(light, ink):
    page = paint(ink, size=(800, 1000))
    return ImageChops.multiply(page, light.resize(page.size).convert("RGB"))


def jpeg(ink):
    buffer = io.BytesIO()
    paint(ink).save(buffer, "JPEG", quality=10)
    return Image.open(buffer)


def transparent(ink, color):
    picture = Image.new("RGBA", ink.size, color)
    picture.putalpha(ink)
    return picture


def with_lines(ink, *lines):
    page = paint(ink, size=(800, 1000))
    for line in lines:
        ImageDraw.Draw(page).line(line, BLUE, width=9)
    return page


def turned_by_exif(ink):
    picture = paint(ink).transpose(Image.Transpose.ROTATE_90)
    picture.getexif()[0x0112] = 6  # to be turned clockwise
    return picture


FRAME = (190, 290, 610, 290, 610, 710, 190, 710, 190, 286)
SPECKS = [(x, x, x + 9, x) for x in (20, 90, 160, 640, 700, 760)]
GRADIENT = Image.linear_gradient("L").rotate(90).point(lambda v: 255 - v * 0.6)
SHADOW = Image.new("L", (800, 1000), 255)
SHADOW.paste(150, (0, 0, 380, 1000))
SHADOW = SHADOW.rotate(-10, fillcolor=150).filter(ImageFilter.GaussianBlur(40))
KINDS = {
    "dark on light": paint,
    "light on dark": lambda ink: paint(ink, WHITE, (30, 70, 40)),
    "red on green as bright": lambda ink: paint(ink, (200, 0, 0), (0, 102, 0)),
    "exif": turned_by_exif,
    "frame": lambda ink: with_lines(ink, FRAME),
    "desk": on_desk,
    "turned sheet": lambda ink: on_desk(ink, 7),
    "small sheet": lambda ink: on_desk(ink, -5, (1500, 1500)),
    "gradient": lambda ink: under(GRADIENT, ink),
    "shadow": lambda ink: under(SHADOW, ink),
    "jpeg": jpeg,
    "transparent": lambda ink: transparent(ink, "black"),
    "white on transparent": lambda ink: transparent(ink, "white"),
    "palette": lambda ink: paint(ink).quantize(8),
    "1-bit": lambda ink: ImageOps.invert(ink).convert("1"),
    "16-bit": lambda ink: (
        ink.convert("I").point(lambda v: v * 200 + 900).convert("I;16")
    ),
    "specks": lambda ink: with_lines(ink, *SPECKS),
}


def check(kind, count, checkpoint, read):
    """Read the first digits of the test split about as often as the model does."""
    mnist = train_mnist.read_mnist(ROOT / "datasets", train=False)[:count]
    model = own_picture.load_model(checkpoint)
    right = expected = 0
    for image, target in mnist:
        ink = to_pil_image(image).resize((420, 420), Image.Resampling.BICUBIC)
        right += read(KINDS[kind](ink))[0].startswith(f"{target}: ")
        expected += model(image.reshape(1, 784)).argmax() == target
    assert right >= expected - max(1, count // 10)


def test_some_kinds(checkpoint, read):
    for kind in ("exif", "turned sheet", "shadow"):
        check(kind, 3, checkpoint, read)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind, checkpoint, read):
    check(kind, 30, checkpoint, read)


def drawn(*lines, size=(300, 300)):
    picture = Image.new("L", size, 255)
    for line in lines:
        ImageDraw.Draw(picture).line(line, width=24, joint="curve")
    return picture


def test_strokes_apart_are_one_digit(read, tmp_path):
    five = ((130, 90, 90, 170, 190, 180, 190, 240, 90, 240), (150, 60, 210, 60))
    read(drawn(*five))
    image = Image.open(tmp_path / "shown.png")
    assert image.size == (280, 280)
    assert image.getpixel((180, 40)) > 200  # the bar


ONE, SEVEN = (90, 60, 90, 240), (150, 60, 230, 60, 170, 240)


def cut_short(path):
    drawn(SEVEN).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:-500])
    return path


MISTAKES = {
    "blank": (lambda path: Image.new("L", (300, 300), 200), "no digit"),
    "blot": (
        lambda path: paint(Image.new("1", (420, 420), 1), size=(600, 600)),
        "blot",
    ),
    "two": (lambda path: drawn(ONE, SEVEN), "several"),
    "text": (lambda path: path.write_text("7") and path, "cannot read"),
    "missing": (lambda path: path, "cannot read"),
    "cut": (cut_short, "cannot read"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_get_one_line(name, read, tmp_path):
    make, words = MISTAKES[name]
    out, complaint = read(make(tmp_path / "my.png"))
    assert out == ""
    assert complaint.startswith("error: ") and "\n" not in complaint
    assert words in complaint and "give" in complaint


def test_missing_checkpoint_gets_one_line(read):
    _, complaint = read("my.png", "--checkpoint", "missing.pth")
    assert complaint == "error: there is no missing.pth: run train_mnist.py first"
