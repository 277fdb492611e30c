"""Photos, digits and tables of one's own: right, refused, or named in the output."""

import csv
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from documents import CHANGES, KOREAN, block, make
from helpers import (
    CHECKPOINT,
    ROOT,
    TOGETHER,
    are_parts,
    changed,
    check_going_on,
    loaded,
    module,
)
from PIL import Image, ImageOps
from torch import nn
from torchvision.transforms.functional import to_tensor


@pytest.fixture
def output(monkeypatch, capsys):
    """A function that runs a program beside a script; returns the lines it prints."""

    def output(program, script, *arguments):
        monkeypatch.setitem(sys.modules, "train_mnist", script)
        monkeypatch.setattr(sys, "argv", ["program.py", *map(str, arguments)])
        capsys.readouterr()  # what has been printed before
        exec(program, {})
        return capsys.readouterr().out.splitlines()

    return output


COLOURS = {"ant": "red", "bee": "green", "cat": "blue", "dog": "white"}


@pytest.fixture
def photos(home, tmp_path, monkeypatch):
    """The script for photos, five of each class, and weights in place of ImageNet's."""
    for name, colour in COLOURS.items():
        Path("pictures", name).mkdir(parents=True)
        for number in range(5):
            picture = Image.new("RGB", (300 + number, 260), colour)
            picture.save(f"pictures/{name}/{number}.jpg")
    Path("pictures/.DS_Store").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    name = Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name
    weights = Path(torch.hub.get_dir(), "checkpoints", name)
    weights.parent.mkdir(parents=True)
    torch.manual_seed(1)
    # Zeros at the end of each block, as this learns the colours fast and surely
    model = torchvision.models.resnet18(zero_init_residual=True)
    torch.save(model.state_dict(), weights)
    return changed("own data", "photos")


def linear_model(classes=4):
    """Return a model that takes ResNet's place where it is not tested."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 224**2, classes))


def test_photos_are_counted_and_split_by_the_seed(train, photos):
    photos.make_model = linear_model
    lines = train("--epochs", 1, script=photos)
    assert lines[1:5] == [f"5 samples of {name}" for name in COLOURS]
    flags = block("sh few photos").split()[2:]
    parts = [loaded(photos, train, *flags, "--seed", seed) for seed in (1, 1, 2)]
    (_, same), (_, again), (_, other) = parts
    assert len(same) == 4 and same.indices == again.indices != other.indices


def test_two_classes_and_ten_samples_are_the_least(train, photos):
    photos.make_model = linear_model
    for name in ("cat", "dog"):
        shutil.rmtree(f"pictures/{name}")
    assert "Accuracy" in train("--epochs", 1, script=photos)[-2]
    Path("pictures/bee/0.jpg").unlink()
    with pytest.raises(
        SystemExit, match="^error: too few: at least two classes and ten"
    ):
        train(script=photos)
    Path("pictures/bee").rename("bee")
    for number in range(5, 12):
        shutil.copy("pictures/ant/0.jpg", f"pictures/ant/{number}.jpg")
    with pytest.raises(
        SystemExit, match="^error: too few: at least two classes and ten"
    ):
        train(script=photos)


def test_training_begins_with_weights_from_imagenet(photos):
    (weights,) = Path(torch.hub.get_dir(), "checkpoints").iterdir()
    first_layer = photos.make_model(4).conv1.weight
    assert torch.equal(first_layer, torch.load(weights)["conv1.weight"])


def test_photos_are_turned_upright(photos):
    picture = Image.new("RGB", (60, 40), "white")
    picture.paste("black", (0, 0, 20, 40))
    picture.save("upright.jpg")
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # to be turned clockwise
    turned.save("turned.jpg", exif=turned.getexif())
    expected, image = (
        to_tensor(photos.load_photo(path)) for path in ("upright.jpg", "turned.jpg")
    )
    torch.testing.assert_close(image, expected, atol=0.1, rtol=0)


def test_transparent_parts_of_photos_are_white(photos):
    Image.new("RGBA", (60, 40), (0, 0, 0, 0)).save("transparent.png")
    assert to_tensor(photos.load_photo("transparent.png")).min() == 1


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_grey_of_more_than_8_bits_is_refused(photos, mode):
    Image.new(mode, (60, 40), 1000).save("pictures/cat/deep.tiff")
    with pytest.raises(
        RuntimeError, match="cannot read pictures.cat.deep.tiff: grey of"
    ):
        list(photos.read_data())


@pytest.mark.parametrize("name", ["0.jpg", "1.heic", "notes.txt"])
def test_files_that_are_no_photos_are_named(photos, name):
    Path("pictures/cat", name).write_bytes(b"no photo")
    with pytest.raises(RuntimeError, match=f"cannot read pictures.cat.{name}: "):
        list(photos.read_data())


def test_hidden_files_are_left_out(photos):
    Path("pictures/cat/._0.jpg").write_bytes(b"a Mac's")
    assert len(photos.read_data()) == 20


def test_folders_in_folders_are_refused(photos):
    """Such as train/ and val/, whose names would be those of the classes."""
    shutil.move("pictures/bee", "pictures/cat")
    with pytest.raises(SystemExit, match="error: pictures.cat.bee is a folder"):
        photos.read_data()


def test_class_without_photos_is_named(photos):
    Path("pictures/eel").mkdir()
    with pytest.raises(FileNotFoundError, match="Found no valid file .* eel"):
        photos.read_data()


@pytest.fixture
def classify(photos, output):
    """A function that returns what classify.py prints of photos in some colours."""

    def classify(*colours):
        paths = [f"{colour}.png" for colour in colours]
        for path, colour in zip(paths, colours):
            Image.new("RGB", (400, 500), colour).save(path)
        return output(block("python classify.py"), photos, *paths)

    return classify


@pytest.mark.slow
def test_photos_and_the_classes_of_new_ones(train, photos, classify):
    lines = train("--epochs", 8, "--batch-size", 4, "--lr", 0.01, script=photos)
    assert lines[-2].startswith("Model Accuracy: 100.00 %")
    assert classify(*COLOURS.values()) == [
        f"{colour}.png: {name}" for name, colour in COLOURS.items()
    ]


def test_classify_needs_the_checkpoint_alone(photos, classify, tmp_path, monkeypatch):
    """Neither the folders, which may have changed, nor ImageNet's weights."""
    model = photos.make_model(3)
    with torch.no_grad():
        model.fc.bias.copy_(torch.tensor([0, 1000, 0]))
    saved = {"model": model.state_dict(), "classes": ["eel", "fox", "gnu"]}
    torch.save(saved, CHECKPOINT)
    shutil.rmtree("pictures")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    assert classify("red") == ["red.png: fox"]


def test_own_data_with_validation_and_augmentation(train, photos, monkeypatch):
    monkeypatch.setattr(torchvision.datasets, "MNIST", None)  # is never read
    for path in Path("pictures").glob("*/[0-9].jpg"):  # so that a crop can be seen
        Image.radial_gradient("L").save(path)
    script = changed(*TOGETHER[3])
    script.make_model = linear_model
    training, validation, test = parts = loaded(script, train)
    plain = script.read_data()
    assert [*map(len, parts)] == [16, 2, 2] and are_parts(parts, plain)
    for part, is_plain in ((training, False), (validation, True), (test, True)):
        image = plain[part.indices[0]][0]
        assert torch.equal(part[0][0], image) == is_plain
        assert torch.equal(part[0][0], part[0][0]) == is_plain


@pytest.mark.slow
def test_going_on_with_photos(train, photos):
    check_going_on(train, changed(*TOGETHER[2]), "--batch-size", 8)


@pytest.mark.parametrize("ink", ["dark", "light"])
def test_own_digits(train, home, output, ink):
    """The test set's first images, enlarged; the model is the script's own."""
    mnist = torchvision.datasets.MNIST(ROOT / "datasets", train=False)
    for number in range(600):
        image, digit = mnist[number]
        if ink == "dark":
            image = ImageOps.invert(image)
        folder = Path("pictures", str(digit))
        folder.mkdir(parents=True, exist_ok=True)
        image.resize((56, 70)).save(folder / f"{number}.png")
    text = make("own data", "digits")
    if ink == "light":
        text = "".join(
            line for line in text.splitlines(True) if "RandomInvert" not in line
        )
    script = module(text)
    flags = block("sh few rows").split()[2:]
    lines = train(*flags, script=script)
    assert lines[1] == f"{len(os.listdir('pictures/0'))} samples of 0"
    assert float(lines[-2].split()[2]) > 75
    image, _ = script.read_data()[0]
    assert image.shape == (1, 28, 28) and image[0, 0, 0] == 0  # as in MNIST
    sentence = "In `classify.py`, put `model = make_model()` in place of the line"
    assert sentence in CHANGES
    program = block("python classify.py")
    (line,) = [line for line in program.splitlines() if line.startswith("model =")]
    program = program.replace(line, sentence.split("`")[3])
    lines = output(program, script, *folder.iterdir())
    answers = [line.split(": ")[1] for line in lines]
    assert answers.count(folder.name) > len(answers) / 2


HEADER = ["height", "width", "depth", "weight", "class"]


def rows(scale=1, offset=0):
    """Return 120 rows; those of a class are near a corner of their own."""
    torch.manual_seed(1)
    corners = torch.tensor([[1, 9, 1, 9], [9, 1, 9, 1], [5.1, 3.5, 1.4, 0.2]])
    values = (corners + torch.randn(40, 3, 4) / 2).flatten(0, 1)
    values[:, 0] = values[:, 0] * scale + offset
    return [
        [*row, ("setosa", "-1", "붓꽃")[number % 3]]
        for number, row in enumerate(values.tolist())
    ]


def write(rows, header=HEADER, encoding="utf-8", delimiter=","):
    with open("table.csv", "w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows, []])


@pytest.mark.parametrize(
    ("scale", "offset"), [(1, 0), (1000, 0), (1e-4, 0), (1, 2000), (0, 2024.3)]
)
def test_table_and_the_class_of_a_new_row(train, home, output, scale, offset):
    """With a column of another scale, or of one that never changes."""
    write(rows(scale, offset), encoding="utf-8-sig")
    script = changed("own data", "table")
    flags = block("sh few rows").split()[2:]
    lines = train(*flags, script=script)
    assert lines[1:4] == [f"40 samples of {name}" for name in ("-1", "setosa", "붓꽃")]
    assert lines[-2].startswith("Model Accuracy: 100.00 %")
    program = block("python classify_row.py")
    assert "row = [5.1, 3.5, 1.4, 0.2]\n" in program
    new = (5 * scale + offset, 4, 1, 0)  # whole numbers, in the first case
    program = program.replace("5.1, 3.5, 1.4, 0.2", str(new)[1:-1])
    assert output(program, script) == ["붓꽃"]


def test_table_goes_to_the_device(train, home, monkeypatch):
    """As test_everything_goes_to_the_device in test_run.py."""
    write(rows())
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: 1.0)
    train("--device", "meta", "--epochs", 1, script=changed("own data", "table"))


def test_tables_that_are_refused(train, home):
    """In our words, or in PyTorch's or Python's, which the page explains."""

    def refusal(*table, **options):
        write(*table, **options)
        with pytest.raises((Exception, SystemExit)) as raised:
            train(script=changed("own data", "table"))
        return f"{raised.typename}: {raised.value}"

    table = rows()
    numbered = [[number, *row] for number, row in enumerate(table)]
    incomplete = [["", *row[1:]] for row in table]
    for encoding in ("utf-8", "utf-8-sig"):
        message = refusal(numbered, ["", *HEADER], encoding=encoding)
        assert "error: leave out the column" in message
    assert "error: too few" in refusal(table[::3])  # one class
    assert "error: too few" in refusal(table[:9])
    explained = {
        "could not convert string to float": refusal(incomplete),
        "UnicodeDecodeError": refusal(table, encoding="cp949"),
        "mat1 and mat2": refusal(table, delimiter=";"),
    }
    for words, message in explained.items():
        assert words in message and f"`{words}" in CHANGES


def test_trainer_of_the_next_post(train, photos, steps, output):
    """A linear model takes VGG11's place in training, as that would take an hour."""
    for folder in ("train", "evaluation"):
        shutil.copytree("pictures", f"datasets/{folder}")
    script = changed("tutorial-2")
    with torch.device("meta"):  # computes shapes only
        assert script.make_model()(torch.rand(1, 3, 224, 224)).shape == (1, 4)
    script.make_model = linear_model
    train("--epochs", 21, "--batch-size", 4, script=script)
    assert steps[0]["kind"] is torch.optim.Adam
    rates = [step["lr"] for step in steps]
    assert rates == pytest.approx([0.003] * 100 + [0.0027] * 5)
    program = block("python classify_photo.py", KOREAN)
    assert output(program, script, "pictures/bee/0.jpg") == ["bee"]
    Path("datasets/train/bee").rename("datasets/train/moth")
    with pytest.raises(SystemExit, match="^error: .* do not have the same classes"):
        train(script=script)
