"""Photos, digits and tables of one's own: right, or refused in one line."""

import ast
import difflib
import re
import shutil
import sys
import unicodedata
from inspect import getsource
from pathlib import Path

import classify_photos
import classify_table
import pytest
import torch
import torchvision
import train_photos
import train_table
from documents import block, make
from helpers import (
    EXAMPLES,
    ROOT,
    SCRIPTS,
    TOGETHER,
    changed,
    check_going_on,
    linear_model,
    loaded,
    module,
    run,
)
from own_data import COLOURS, HEADER, rows, write_table
from PIL import Image, ImageOps
from torch import nn
from torchvision.transforms.functional import to_tensor

pytestmark = pytest.mark.usefixtures("own_data")


@pytest.fixture
def refusal(train):
    """A function that trains and returns the error, a line without a traceback."""

    def refusal(script, *flags):
        with pytest.raises(SystemExit) as raised:
            train("--epochs", 1, *flags, script=script)
        assert re.fullmatch("error: .*", raised.value.code)
        return raised.value.code

    return refusal


@pytest.fixture
def classify(monkeypatch, capsys):
    """A function that runs a classifying program and returns the lines it prints."""

    def classify(program, *arguments):
        monkeypatch.setattr(sys, "argv", ["classify.py", *map(str, arguments)])
        capsys.readouterr()  # what has been printed before
        program.main()
        return capsys.readouterr().out.splitlines()

    return classify


@pytest.fixture
def small_model(monkeypatch):
    """The model that takes ResNet's place; in train_photos, it does so by itself."""
    monkeypatch.setattr(train_photos, "make_model", linear_model)
    return linear_model


def code_lines(text):
    """Return the lines of a program without its comments and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef)) and ast.get_docstring(node):
            del node.body[0]
    return [line.strip() for line in ast.unparse(tree).splitlines()]


# How the lines begin that own data change in train_mnist.py, beside its functions for
# the data and the model
OWN = (
    "import torchvision",
    "from torch.utils.data import",
    "train_dataset = ",
    "eval_dataset = ",
    "model = make_model(",
    "torch.save(",
    "data_dir = ",
    *("parser.add_argument('--batch-size'", "parser.add_argument('--lr'"),
    *("parser.add_argument('--log-interval'", "parser.add_argument('--data-dir'"),
    "parser.add_argument('--checkpoint'",
)


@pytest.mark.parametrize("file", ["train_photos.py", "train_table.py"])
def test_trainers_have_the_lines_of_the_script(file):
    """All but those that own data change, in the same order."""
    script = SCRIPTS["train_mnist.py"]
    start, end = script.index("def read_mnist"), script.index("def evaluate")
    lines = code_lines(script[:start] + script[end:])
    difference = difflib.ndiff(lines, code_lines(SCRIPTS[file]))
    gone = [line[2:] for line in difference if line.startswith("- ")]
    assert [line for line in gone if not line.startswith(OWN)] == []


def test_files_speak_of_own_data_alone():
    for program in (train_photos, train_table, classify_photos, classify_table):
        text = getsource(program)
        assert not re.search("mnist|digit|readme|tests/|changes.md", text, re.I)


def test_table_as_its_user_does_it(home):
    """With copies of the two files alone, one of them renamed."""
    write_table([[*row[:4], ""] for row in rows()[2:8:3]], path="new.csv")
    shutil.copy(EXAMPLES / "train_table.py", "my_trainer.py")
    program = (EXAMPLES / "classify_table.py").read_text("utf-8")
    program = program.replace("from train_table import", "from my_trainer import")
    Path("classify_table.py").write_text(program, "utf-8")
    output, _ = run(sys.executable, "my_trainer.py", "--device", "cpu", cwd=home)
    lines = output.splitlines()
    assert lines[1:6] == [
        "4 columns, from height to weight; class: class",
        *(f"40 samples of {name}" for name in ("-1", "setosa", "붓꽃")),
        "Always answering the largest class would give 33.33 %",
    ]
    assert re.match(r"Epoch \[1/10\], Step \[5/12\]", lines[6])  # batches of 8
    assert lines[-2].startswith("Model Accuracy: 100.00 %")
    output, _ = run(sys.executable, "classify_table.py", "new.csv", cwd=home)
    assert output.splitlines() == [f"new.csv, line {line}: 붓꽃" for line in (2, 3)]


@pytest.mark.parametrize(
    ("scale", "offset"), [(1, 0), (1000, 0), (1e-4, 0), (1, 2000), (0, 2024.3)]
)
def test_columns_of_any_scale_and_new_rows_in_any_order(train, classify, scale, offset):
    """Also a column that never changes, and a file that Excel has saved."""
    write_table(rows(scale, offset), encoding="utf-8-sig")
    lines = train("--epochs", 10, script=train_table)
    assert lines[-2].startswith("Model Accuracy: 100.00 %")
    new = [["?", 0, 4, 1, 5 * scale + offset], ["?", 9, 9, 1, 1 * scale + offset]]
    header = ["note", "weight", " width ", "depth", "height"]
    write_table(new, header, path="new.csv", encoding="utf-8-sig")
    lines = classify(classify_table, "new.csv")
    assert lines == ["new.csv, line 2: 붓꽃", "new.csv, line 3: setosa"]


def test_columns_are_scaled_by_the_rows_to_train_on(train):
    write_table(rows(1e-4))
    train("--epochs", 1, script=train_table)
    training, evaluation = loaded(module(SCRIPTS["train_table.py"]), train)
    assert (len(training), len(evaluation)) == (96, 24)
    values = torch.stack([row for row, _ in training])
    saved = torch.load("table.pth")["model"]
    torch.testing.assert_close(saved["0.mean"], values.mean(dim=0))
    torch.testing.assert_close(saved["0.std"], values.std(dim=0))


def test_model_of_a_table_is_not_linear():
    layers = [type(layer).__name__ for layer in train_table.make_model(4, 3)]
    assert layers == ["Scale", "Linear", "ReLU", "Linear"]


@pytest.mark.parametrize("file", ["train_photos.py", "train_table.py"])
def test_own_data_go_to_the_device(train, monkeypatch, small_model, file):
    """As test_everything_goes_to_the_device in test_run.py."""
    script = module(SCRIPTS[file])
    if file == "train_photos.py":
        script.make_model = small_model
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: 1.0)
    train("--device", "meta", "--epochs", 1, script=script)


TABLE = rows()
NUMBERED = [[number, *row] for number, row in enumerate(TABLE, start=7)]
SHUFFLED = [[number * 7 % 120, *row] for number, row in enumerate(TABLE)]
GERMAN = [[str(cell).replace(".", ",") for cell in row] for row in TABLE]


@pytest.mark.parametrize(
    ("table", "options", "words"),
    [
        (NUMBERED, {}, "line 2: 6 cells, but the header has 5"),
        (TABLE[:5] + [TABLE[5][1:]], {}, "line 7: 4 cells, but the header has 5"),
        (TABLE[:2] + [["5,1", *TABLE[2][1:]]], {}, "line 4: height is '5,1', which is"),
        (TABLE[:3] + [["", *TABLE[3][1:]]], {}, "line 5: height is '', which is no"),
        (TABLE[:3] + [["nan", *TABLE[3][1:]]], {}, "line 5: height is 'nan', which is"),
        (TABLE[:3] + [["inf", *TABLE[3][1:]]], {}, "line 5: height is 'inf', which is"),
        (TABLE[:2] + [[], ["x", *TABLE[2][1:]]], {}, "line 5: height is 'x', which is"),
        (TABLE[:3] + [[*TABLE[3][:4], " "]], {}, "line 5: the class is empty"),
        (TABLE, {"delimiter": ";"}, "line 1: put commas between"),
        (GERMAN, {"delimiter": ";"}, "line 1: put commas between"),
        (TABLE, {"delimiter": "\t"}, "line 1: put commas between"),
        (NUMBERED, {"header": ["Id", *HEADER]}, "line 1: 'Id' numbers the rows"),
        (SHUFFLED, {"header": ["no", *HEADER]}, "line 1: 'no' numbers the rows"),
        (NUMBERED, {"header": ["", *HEADER]}, "line 1: each column needs a name"),
        (TABLE, {"header": ["width", *HEADER[1:]]}, "line 1: each column needs a name"),
        (TABLE, {"encoding": "cp949"}, 'is not in UTF-8: save it as "CSV UTF-8"'),
        (TABLE, {"encoding": "utf-16"}, 'is not in UTF-8: save it as "CSV UTF-8"'),
        ([], {}, "has no rows below a header"),
        (TABLE[::3], {}, "too few: at least two classes, and ten samples"),
        (TABLE[:9], {}, "too few: at least two classes, and ten samples"),
        ([[*row[:4], row[0]] for row in TABLE], {}, "too few: .* two for each class"),
        (TABLE + [[1, 2, 3, 4, "setsoa"]], {}, "too few: .* two for each class"),
        ([[7, 1, 2, 3, "a"]], {}, "too few: .* two for each class"),
    ],
)
def test_tables_that_are_refused(refusal, table, options, words):
    write_table(table, **options)
    place = "" if words.startswith("too few") else "table.csv(, )? ?"
    assert re.match(f"error: {place}{words}", refusal(train_table))


def test_ten_rows_of_two_classes_are_the_least(train):
    """Spaces, and letters in parts as a Mac may store them, make no other class."""
    table = [row for row in TABLE if row[-1] != "-1"][:10]
    names = {"setosa": " setosa", "붓꽃": unicodedata.normalize("NFD", "붓꽃 ")}
    write_table(table[:5] + [[*row[:4], names[row[4]]] for row in table[5:]])
    lines = train("--epochs", 1, script=train_table)
    assert lines[2:4] == ["5 samples of setosa", "5 samples of 붓꽃"]
    write_table(table + [table[0]] * 10)
    lines = train("--epochs", 1, script=train_table)
    assert lines[4] == "Always answering the largest class would give 75.00 %"


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        (HEADER[1:], [1, 2, 3, "?"], r"line 1: no column 'height' in \['width', "),
        (HEADER, [1, 2, "x", 4, "?"], "line 2: depth is 'x', which is no number"),
        (HEADER, [1, 2, 3, 4], "line 2: 4 cells, but the header has 5"),
    ],
)
def test_new_rows_that_are_refused(train, classify, header, row, words):
    train("--epochs", 1, script=train_table)
    write_table([row], header, path="new.csv")
    with pytest.raises(SystemExit, match=f"^error: new.csv, {words}"):
        classify(classify_table, "new.csv")


@pytest.mark.parametrize("flag", ["--table", "--data-dir", "--eval-dir"])
def test_missing_data_are_a_bad_flag(train, capsys, flag):
    script = train_table if flag == "--table" else train_photos
    with pytest.raises(SystemExit, match="2"):
        train(flag, "missing", script=script)
    assert re.search(f"error: .*{flag}.* not missing$", capsys.readouterr().err, re.M)


def test_photos_are_counted_and_split_by_the_seed(train, small_model):
    script = module(SCRIPTS["train_photos.py"])
    script.make_model = small_model
    lines = train("--epochs", 1, script=script)
    assert lines[1:6] == [
        *(f"5 samples of {name}" for name in COLOURS),
        "Always answering the largest class would give 25.00 %",
    ]
    small_model(4).load_state_dict(torch.load("photos.pth")["model"])  # all of it
    parts = [loaded(script, train, "--seed", seed) for seed in (1, 1, 2)]
    (_, same), (_, again), (_, other) = parts
    assert len(same) == 4 and same.indices == again.indices != other.indices


@pytest.fixture
def divided():
    """Photos in train/ and test/, of which a Mac has written a name in test/."""
    shutil.copytree("pictures", "test")
    Path("pictures").rename("train")
    Path("test/cat").rename(unicodedata.normalize("NFD", "test/각"))
    Path("train/cat").rename("train/각 ")
    return "--data-dir", "train", "--eval-dir", "test"


@pytest.mark.parametrize("names", [[], ["validation"]])
def test_a_delivered_split_is_kept(train, divided, small_model, names):
    script = changed(*names, file="train_photos.py")
    script.make_model = small_model
    *parts, test = loaded(script, train, *divided)
    assert {Path(path).parts[0] for path, _ in test.samples} == {"test"}
    assert test.classes == ["ant", "bee", "dog", "각"] and len(test) == 20
    for part in parts:
        whole = part.dataset if names else part
        assert {Path(path).parts[0] for path, _ in whole.samples} == {"train"}
        assert whole.class_to_idx["각 "] == 3
    assert sum(map(len, parts)) == 20


def test_photos_to_evaluate_with_are_counted_too(train, divided, small_model):
    Path("test/ant/0.jpg").unlink()
    _, *lines = train("--epochs", 1, *divided, script=train_photos)
    assert lines[0] == "5 samples of ant" and lines[6] == "4 samples of ant"
    assert lines[10] == "Always answering the largest class would give 26.32 %"


def test_other_classes_in_the_delivered_split_are_named(refusal, divided):
    Path("test/bee").rename("test/moth")
    message = refusal(train_photos, *divided)
    assert message == "error: only in one of the folders: ['bee', 'moth']"


def test_too_few_photos_are_refused(refusal):
    for name in ("cat", "dog"):
        shutil.rmtree(f"pictures/{name}")
    Path("pictures/bee/0.jpg").unlink()
    assert refusal(train_photos).startswith("error: too few: at least two classes")
    shutil.rmtree("pictures/ant")
    assert refusal(train_photos).startswith("error: too few: at least two classes")
    shutil.rmtree("pictures/bee")
    assert refusal(train_photos).startswith("error: pictures has no folders, one for")


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("cat/bee", None, "pictures.cat.bee is a folder, not a photo"),
        (".hidden", None, "pictures..hidden is a hidden folder"),
        ("eel", None, "pictures: Found no valid file for the classes eel"),
        ("cat/1.heic", b"no", "pictures.cat.1.heic is no JPEG or PNG: save HEIC as "),
        ("cat/notes.txt", b"no", "pictures.cat.notes.txt is no JPEG or PNG: "),
        ("cat/0.jpg", b"cut", "cannot read pictures.cat.0.jpg: "),
    ],
)
def test_what_is_refused_beside_photos(refusal, small_model, path, content, words):
    path = Path("pictures", path)
    if content == b"cut":
        content = path.read_bytes()[:700]
    path.write_bytes(content) if content else path.mkdir()
    assert re.match(f"error: {words}", refusal(train_photos))


def test_what_windows_and_macos_hide_is_left_out():
    for name in ("._0.jpg", ".DS_Store", "desktop.ini", "Thumbs.db"):
        Path("pictures/cat", name).write_bytes(b"a system's")
    assert len(train_photos.read_photos("pictures")) == 20


def test_photos_are_turned_upright():
    picture = Image.new("RGB", (60, 40), "white")
    picture.paste("black", (0, 0, 20, 40))
    picture.save("upright.jpg")
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # to be turned clockwise
    turned.save("turned.jpg", exif=turned.getexif())
    expected, image = (
        to_tensor(train_photos.load_photo(path))
        for path in ("upright.jpg", "turned.jpg")
    )
    torch.testing.assert_close(image, expected, atol=0.1, rtol=0)


def test_broken_exif_data_do_not_lose_a_photo():
    Image.new("RGB", (60, 40), "red").save("photo.jpg", exif=b"Exif\0\0broken")
    assert train_photos.load_photo("photo.jpg").size == (60, 40)


def test_large_photos_are_read(monkeypatch):
    """Above Pillow's limit, which the program lifts."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    assert train_photos.load_photo("pictures/cat/0.jpg").size == (300, 260)


def test_transparent_parts_of_photos_are_white():
    Image.new("RGBA", (60, 40), (0, 0, 0, 0)).save("transparent.png")
    assert to_tensor(train_photos.load_photo("transparent.png")).min() == 1


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_grey_of_more_than_8_bits_is_refused(mode):
    Image.new(mode, (60, 40), 1000).save("deep.tiff")
    with pytest.raises(SystemExit, match="cannot read deep.tiff: grey of more than 8"):
        train_photos.load_photo("deep.tiff")


def test_training_begins_with_weights_from_imagenet(train, monkeypatch):
    (weights,) = Path(torch.hub.get_dir(), "checkpoints").iterdir()
    make_model, models = train_photos.make_model, []

    def spy(*arguments, **options):
        models.append(make_model(*arguments, **options))
        raise KeyboardInterrupt  # before the training, which takes long

    monkeypatch.setattr(train_photos, "make_model", spy)
    with pytest.raises(KeyboardInterrupt):
        train(script=train_photos)
    assert torch.equal(models[0].conv1.weight, torch.load(weights)["conv1.weight"])
    assert models[0].fc.out_features == 4


def test_classifying_photos_needs_the_checkpoint_alone(classify, tmp_path, monkeypatch):
    """Neither the folders, which may have changed, nor ImageNet's weights."""
    model = train_photos.make_model(3)
    with torch.no_grad():
        model.fc.bias.copy_(torch.tensor([0, 1000, 0]))
    saved = {"model": model.state_dict(), "classes": ["eel", "fox", "gnu"]}
    torch.save(saved, "photos.pth")
    Path("pictures/cat/0.jpg").rename("new.jpg")
    shutil.rmtree("pictures")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    assert classify(classify_photos, "new.jpg", "new.jpg") == ["new.jpg: fox"] * 2


@pytest.mark.slow
def test_photos_as_their_user_does_it(home):
    """With copies of the two files alone."""
    for name in ("train_photos.py", "classify_photos.py"):
        shutil.copy(EXAMPLES / name, home)
    flags = ("--epochs", 8, "--batch-size", 4, "--device", "cpu")
    output, _ = run(sys.executable, "train_photos.py", *flags, cwd=home)
    assert output.splitlines()[-2].startswith("Model Accuracy: 100.00 %")
    for colour in COLOURS.values():
        Image.new("RGB", (400, 500), colour).save(f"{colour}.png")
    files = [f"{colour}.png" for colour in COLOURS.values()]
    output, _ = run(sys.executable, "classify_photos.py", *files, cwd=home)
    assert output.splitlines() == [
        f"{colour}.png: {name}" for name, colour in COLOURS.items()
    ]


@pytest.mark.slow
def test_going_on_with_photos(train):
    file, names = TOGETHER[3]
    assert file == "train_photos.py" and "going on" in names
    check_going_on(train, changed(*names, file=file), "--batch-size", 8)


def test_going_on_with_a_table(train):
    check_going_on(train, changed("going on", "Adam", file="train_table.py"))


def test_photo_augmentation(train, small_model):
    """With no learning and all photos in one batch, only the photos can differ."""
    for path in Path("pictures").glob("*/*.jpg"):  # so that a crop can be seen
        Image.radial_gradient("L").save(path)
    losses = []
    for script in (
        changed(file="train_photos.py"),
        changed("photo augmentation", file="train_photos.py"),
    ):
        script.make_model = small_model
        lines = train("--epochs", 2, "--lr", 0, "--batch-size", 20, script=script)
        losses += [line.split("Loss: ")[1] for line in lines if "Step" in line]
    assert losses[0] == losses[1] and len(set(losses)) == 3


def test_some_photos_are_mirrored(train, monkeypatch):
    """Left and right, each on its own; without the crop, nothing else changes."""
    half = Image.new("RGB", (256, 256), "white")
    half.paste("black", (0, 0, 128, 256))
    for path in Path("pictures").glob("*/*.jpg"):
        half.save(path)
    monkeypatch.setattr(torchvision.transforms, "RandomResizedCrop", nn.Identity)
    script, seen = changed("photo augmentation", file="train_photos.py"), []

    class Spy(nn.Linear):
        def forward(self, inputs):
            seen.extend(inputs)
            return super().forward(inputs.flatten(1))

    script.make_model = lambda classes, weights: Spy(3 * 224**2, classes)
    train("--epochs", 1, script=script)
    photo = script.read_photos("pictures")[0][0]
    mirrored = sum(torch.equal(image, photo.flip(-1)) for image in seen[:16])
    plain = sum(torch.equal(image, photo) for image in seen[:16])
    assert mirrored > 0 and plain > 0 and mirrored + plain == 16
    assert all(torch.equal(image, photo) for image in seen[16:])  # to evaluate with


@pytest.mark.parametrize("ink", ["dark", "light"])
def test_own_digits(train, home, classify, monkeypatch, ink):
    """The test set's first images, enlarged, and the post's model."""
    shutil.rmtree("pictures")
    mnist = torchvision.datasets.MNIST(ROOT / "datasets", train=False)
    for number in range(600):
        image, digit = mnist[number]
        if ink == "dark":
            image = ImageOps.invert(image)
        folder = Path("pictures", str(digit))
        folder.mkdir(parents=True, exist_ok=True)
        image.resize((56, 70)).save(folder / f"{number}.png")
    text = make(SCRIPTS["train_photos.py"], "digits")
    if ink == "light":
        text = re.sub(r".*RandomInvert.*\n", "", text)
    script = module(text)
    lines = train("--lr", 0.1, script=script)
    assert float(lines[-2].split()[2]) > 75
    image, _ = script.read_photos("pictures")[0]
    assert image.shape == (1, 28, 28) and image[0, 0, 0] == 0  # as in MNIST
    assert script.make_model(26)(image.unsqueeze(0)).shape == (1, 26)
    for name in ("TRANSFORM", "load_photo", "make_model"):
        monkeypatch.setattr(classify_photos, name, getattr(script, name))
    lines = classify(classify_photos, *folder.iterdir())
    answers = [line.split(": ")[1] for line in lines]
    assert answers.count(folder.name) > len(answers) / 2


def test_trainer_of_the_next_post(train, steps):
    """A linear model takes VGG11's place in training, as that would take an hour."""
    script = changed("tutorial-2", file="train_photos.py")
    with torch.device("meta"):  # computes shapes only
        assert script.make_model(4)(torch.rand(1, 3, 224, 224)).shape == (1, 4)
    script.make_model = linear_model
    train("--epochs", 26, "--batch-size", 4, "--lr", 0.003, script=script)
    assert steps[0]["kind"] is torch.optim.Adam
    rates = [step["lr"] for step in steps]
    assert rates == pytest.approx([0.003] * 100 + [0.0027] * 4)


@pytest.mark.parametrize("name", ["photos", "table"])
def test_commands_of_the_page(name):
    """They are those of the README, which .ci/run runs, and name our files."""
    commands = block(f"sh {name}") + block(f"sh classify {name}")
    assert commands == block(f"sh own {name}")
    _, trainer = block(f"sh {name}").split()
    assert ROOT / trainer == EXAMPLES / f"train_{name}.py"
    _, program, _ = block(f"sh classify {name}").split()
    assert ROOT / program == EXAMPLES / f"classify_{name}.py"
