"""The README's diffs: each has its effect, and they work together.

changed(DIFFS[heading]) is the script with the diff under that heading of the README.
train(..., script=...) trains it on the small data set. A new diff is in the tests of
pairs by itself; add a test of its effect.
"""

import itertools
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import CHECKPOINT, changed
from experiments import MOMENTUM, SORTED
from PIL import Image
from readme import README, apply, block, diffs
from torch import nn

import train_mnist

DIFFS = diffs()
OWN_DATA, FOLDERS = "Data: your own list of pairs", "Data: pictures in folders"
FASHION, AUGMENT = "Data: Fashion-MNIST", "Data: augment"
NORMALISE, RELU = "Data: normalise", "Model: ReLU"
CONVOLUTION, TORCHVISION = "Model: a convolutional net", "Model: one of torchvision's"
ADAM, SCHEDULE = "Training: Adam", "Training: a learning-rate schedule"
VALIDATION = "Training: a validation split and the best epoch"
RESUME = "Training: going on where a run stopped"
TRAINING = [name for name in DIFFS if name.startswith("Training") and name != RESUME]
BEST, SAVED = "mnist_dnn_model.best.pth", "mnist_dnn_model.resume.pth"


def save_pictures(*folders, size=(40, 30)):
    """Save four colour pictures for each of three classes, white in another half."""
    halves = {"ant": (0, 0, 20, 30), "bee": (20, 0, 40, 30), "cat": (0, 0, 40, 15)}
    for folder, name in itertools.product(folders, halves):
        picture = Image.new("RGB", (40, 30))
        picture.paste("white", halves[name])
        Path(folder, name).mkdir(parents=True)
        for number in range(4):
            picture.resize(size).save(Path(folder, name, f"{number}.png"))


@pytest.fixture
def all_data(home, small_data):
    """Data for every diff: pictures in folders, and MNIST's as Fashion-MNIST."""
    save_pictures("pictures/train", "pictures/eval")
    shutil.copytree(small_data / "MNIST", small_data / "FashionMNIST")
    return small_data


@pytest.fixture
def classify(monkeypatch, capsys):
    """A function that runs the README's classify.py and returns the class it prints."""

    def classify(script, picture, folder="pictures/train"):
        monkeypatch.setitem(sys.modules, "train_mnist", script)
        monkeypatch.setattr(sys, "argv", ["classify.py", picture])
        code = block("import make_model, read_folder")
        exec(code.replace("pictures/train", folder), {})
        return capsys.readouterr().out.strip()

    return classify


def test_own_data(train):
    lines = train("--epochs", 3, script=changed(DIFFS[OWN_DATA]))
    assert lines[-2].startswith("Model Accuracy: 100.00 %")


FIRST_LAYER = """\
-        nn.Linear(28 * 28, 1024),
+        nn.Linear(3 * 32 * 32, 1024),
"""
COLOUR = {  # what the README says to write for colour pictures; "" is a line less
    "+        torchvision.transforms.Grayscale(),\n": "",
    "Resize((28, 28))": "Resize((32, 32))",
    "(0.1307,)": "(0.5, 0.5, 0.5)",
    "(0.3081,)": "(0.5, 0.5, 0.5)",
    "nn.Unflatten(1, (1, 28, 28))": "nn.Unflatten(1, (3, 32, 32))",
    "nn.Conv2d(1, 16, kernel_size=5, padding=2)": "nn.Conv2d(3, 16, kernel_size=5)",
    "+        nn.Conv2d(1, 3, kernel_size=1),  # from grey to 3 channels\n": "",
}


def in_colour(heading):
    diff = DIFFS[heading]
    for old, new in COLOUR.items():
        assert f"`{new}`" in README or not new
        diff = diff.replace(old, new)
    return diff


@pytest.mark.parametrize(
    "diffs",
    [
        [DIFFS[FOLDERS]],
        [in_colour(FOLDERS), FIRST_LAYER],
        [in_colour(heading) for heading in (FOLDERS, NORMALISE, CONVOLUTION)],
        pytest.param(
            [in_colour(FOLDERS), in_colour(TORCHVISION)], marks=pytest.mark.slow
        ),
    ],
    ids=["grey", "colour", "colour, normalised, convolutional net", "colour, ResNet"],
)
def test_pictures_in_folders_and_the_class_of_a_new_one(train, home, classify, diffs):
    save_pictures("pictures/train", "pictures/eval")
    script = changed(*diffs)
    lines = train("--epochs", 20, "--lr", 0.02, script=script)
    assert lines[-2].startswith("Model Accuracy: 100.00 %")
    save_pictures("new", size=(80, 60))
    for name in ("ant", "bee", "cat"):
        assert classify(script, f"new/{name}/1.png") == name


def test_other_folders_in_evaluation_are_an_error(train, home):
    save_pictures("pictures/train", "pictures/eval")
    shutil.rmtree("pictures/eval/bee")
    with pytest.raises(AssertionError, match="not the same folders"):
        train(script=changed(DIFFS[FOLDERS]))


def test_fashion_mnist(train, all_data):
    """This copy of MNIST, with 3 as the label of all images, is learned at once."""
    for path in (all_data / "FashionMNIST" / "raw").glob("*-labels-*"):
        content = path.read_bytes()
        path.write_bytes(content[:8] + bytes([3] * (len(content) - 8)))
    lines = train("--epochs", 1, "--lr", 0.1, script=changed(DIFFS[FASHION]))
    assert lines[-2].startswith("Model Accuracy: 100.00 %")


def test_normalise():
    model = changed(DIFFS[NORMALISE]).make_model()
    normalised = model[:3](torch.tensor([[0.0], [1.0]]).expand(2, 784))
    expected = torch.tensor([-0.1307, 1 - 0.1307]) / 0.3081
    torch.testing.assert_close(normalised, expected[:, None].expand(2, 784))


def test_augment(train):
    """With no learning and all samples in one batch, only the images can differ."""
    flags = ("--epochs", 2, "--lr", 0, "--batch-size", 640, "--log-interval", 1)
    *plain, plain_eval, _ = train(*flags)
    *augmented, augmented_eval, _ = train(*flags, script=changed(DIFFS[AUGMENT]))
    losses = [line.split("Loss: ")[1] for line in plain + augmented if "Step" in line]
    assert losses[0] == losses[1] and len(set(losses)) == 3
    assert plain_eval.split(", Time")[0] == augmented_eval.split(", Time")[0]


def test_relu():
    layers = changed(DIFFS[RELU]).make_model()
    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU, nn.Linear]


@pytest.mark.parametrize(
    ("heading", "name", "shape"),
    [
        (CONVOLUTION, "1.weight", (16, 1, 5, 5)),
        (TORCHVISION, "2.conv1.weight", (64, 3, 7, 7)),
    ],
)
def test_other_models_keep_the_shapes_of_input_and_output(heading, name, shape):
    model = changed(DIFFS[heading]).make_model()
    assert model(torch.rand(2, 784)).shape == (2, 10)
    assert model.state_dict()[name].shape == shape


def test_adam(train):
    """Its first step changes each parameter by the learning rate."""
    torch.manual_seed(1)
    before = train_mnist.make_model()[1].bias
    train("--epochs", 1, "--batch-size", 640, script=changed(DIFFS[ADAM]))
    steps = (torch.load(CHECKPOINT)["1.bias"] - before).abs()
    torch.testing.assert_close(steps, torch.full((10,), 0.003), rtol=0.01, atol=0)


SCHEDULE_OF_THE_NEXT_POST = """\
     # 5. Train Iterator
+    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=100, gamma=0.9)
...
             optimizer.step()  # SGD: parameter -= lr * gradient
+            scheduler.step()
"""


@pytest.mark.parametrize(
    ("diff", "epochs", "lr"),
    [(DIFFS[SCHEDULE], 7, 0.003 / 4), (SCHEDULE_OF_THE_NEXT_POST, 11, 0.003 * 0.9)],
    ids=["by epochs", "by steps"],
)
def test_schedule(train, diff, epochs, lr):
    train("--epochs", epochs, script=changed(diff, DIFFS[RESUME]))
    assert torch.load(SAVED)["optimizer"]["param_groups"][0]["lr"] == lr


def test_validation_split_and_best_epoch(train, monkeypatch):
    script = changed(DIFFS[VALIDATION])
    accuracies, calls = iter((30.0, 50.0, 40.0, 77.0)), []

    def evaluate(model, criterion, loader, device):
        calls.append((model[1].bias.tolist(), loader.dataset))
        return next(accuracies), 1.0

    monkeypatch.setattr(script, "evaluate", evaluate)
    lines = train("--epochs", 3, script=script)
    assert lines[-1] == "Best Epoch: 2, Test Accuracy: 77.00 %"
    biases, datasets = zip(*calls)
    assert torch.load(BEST)["model"]["1.bias"].tolist() == biases[1] == biases[3]
    assert torch.load(CHECKPOINT)["1.bias"].tolist() == biases[2]
    assert [len(dataset) for dataset in datasets] == [64, 64, 64, 100]


@pytest.mark.parametrize(
    "headings",
    [[], [*TRAINING, CONVOLUTION, AUGMENT]],
    ids=["alone", "with all training changes, a convolutional net and augmentation"],
)
def test_resume_gives_the_same_bits(train, headings):
    script = changed(*(DIFFS[heading] for heading in [*headings, RESUME]))
    flags = ("--batch-size", 160, "--lr", 0.01)
    files = [CHECKPOINT, BEST] if VALIDATION in headings else [CHECKPOINT]
    *_, at_once = train(*flags, "--epochs", 4, script=script)
    expected = [flatten(torch.load(path)) for path in files]
    train(*flags, "--epochs", 2, script=script)
    *_, resumed = train(*flags, "--epochs", 4, "--resume", script=script)
    assert resumed == at_once
    for path, values in zip(files, expected):
        for value, other in zip(values, flatten(torch.load(path))):
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other))


def flatten(saved):
    """Return the values of a checkpoint, also of one that holds more."""
    return [*saved.pop("model", {}).values(), *saved.values()]


def test_resume_keeps_the_best_epoch(train, monkeypatch):
    script = changed(DIFFS[VALIDATION], DIFFS[RESUME])
    accuracies = iter((30.0, 90.0, 0.0, 60.0, 0.0))  # of two runs, each with a test
    monkeypatch.setattr(script, "evaluate", lambda *_: (next(accuracies), 1.0))
    train("--epochs", 2, script=script)
    lines = train("--epochs", 3, "--resume", script=script)
    assert lines[1] == "Going on after epoch 2"
    assert lines[-1].startswith("Best Epoch: 2,")


PAIRS = [
    pytest.param(*pair, marks=pytest.mark.slow if TORCHVISION in pair else ())
    for pair in itertools.combinations(DIFFS, 2)
    if pair != (OWN_DATA, FOLDERS)  # alternatives
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_pair_of_changes(train, all_data, first, second):
    """In both orders, of which most give the same script."""
    orders = [(DIFFS[first], DIFFS[second]), (DIFFS[second], DIFFS[first])]
    different = {apply(*order): order for order in orders}
    for order in different.values():
        train("--epochs", 1, "--batch-size", 320, script=changed(*order))


NEXT_POST = """\
-    train_dataset = read_mnist(args.data_dir, train=True)
+    train_dataset = read_folder("train")
...
-    eval_dataset = read_mnist(args.data_dir, train=False)
+    eval_dataset = read_folder("evaluation")
...
+def read_folder(folder):
+    transform = torchvision.transforms.Compose([
+        torchvision.transforms.Resize(256),
+        torchvision.transforms.CenterCrop(224),
+        torchvision.transforms.ToTensor(),
+        torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
+    ])
+    return torchvision.datasets.ImageFolder(folder, transform)
+
+
 def make_model():
...
-        nn.Linear(28 * 28, 1024),
-        nn.Linear(1024, 10),
+        nn.Unflatten(1, (3, 224, 224)),
+        torchvision.models.vgg11(num_classes=3),
"""


@pytest.mark.slow
def test_trainer_of_the_next_post(train, home, classify):
    for words in (
        "Resize(256)",
        "CenterCrop(224)",
        "ToTensor()",
        "Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))",
        "nn.Unflatten(1, (3, 224, 224))",
        "torchvision.models.vgg11(num_classes=3)",
        "step_size=100, gamma=0.9",
    ):
        assert f"`{words}`" in README
        assert words in NEXT_POST + SCHEDULE_OF_THE_NEXT_POST
    save_pictures("train", "evaluation", size=(300, 260))
    script = changed(NEXT_POST, DIFFS[ADAM], SCHEDULE_OF_THE_NEXT_POST)
    lines = train("--epochs", 1, "--batch-size", 4, "--lr", 0.003, script=script)
    assert lines[-2].startswith("Model Accuracy")
    assert classify(script, "train/bee/1.png", "train") in ("ant", "bee", "cat")
    Path(CHECKPOINT).unlink()  # half a gigabyte


@pytest.mark.parametrize("diff", [MOMENTUM, SORTED], ids=["momentum", "sorted"])
def test_diff_of_an_experiment(train, diff):
    train("--epochs", 1, script=changed(diff))
