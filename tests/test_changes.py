"""The documents' changes: each has its effect, and so have combinations of them.

changed("ReLU", "schedule") is the script with these changes, named by their row or
their block. train(..., script=...) trains it on the small data set. Add a test of its
effect here for each new change.
"""

import re
import shutil
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
import torchvision
from experiments import EXPERIMENTS, MISTAKES, make_script
from helpers import CHECKPOINT, changed, module
from PIL import Image
from readme import CHANGES, block, make
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.data import DataLoader
from torchvision.transforms.functional import to_tensor

import train_mnist

ONE_STEP = ("--batch-size", 640)  # all samples of small_data


@pytest.fixture
def steps():
    """For each step that an optimizer takes, its kind and its settings."""
    steps = []

    def hook(optimizer, *_):
        steps.append({"kind": type(optimizer), **optimizer.param_groups[0]})

    handle = register_optimizer_step_pre_hook(hook)
    yield steps
    handle.remove()


@pytest.fixture
def plots(monkeypatch):
    """What is asked of matplotlib, which is not installed for the tests."""
    pyplot = MagicMock()
    pyplot.subplots.return_value = None, pyplot.axes
    monkeypatch.setitem(sys.modules, "matplotlib", MagicMock(pyplot=pyplot))
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", pyplot)
    return pyplot


@pytest.fixture
def evaluated(monkeypatch):
    """A function that lets a script's evaluate() return accuracies, one after another.

    It returns a list of what evaluate() is given: the last bias, and the data set.
    """

    def evaluated(script, *accuracies):
        results, calls = iter(accuracies), []

        def evaluate(model, criterion, loader, device):
            calls.append(([*model.parameters()][-1].tolist(), loader.dataset))
            return next(results), 1.0

        monkeypatch.setattr(script, "evaluate", evaluate)
        return calls

    return evaluated


def test_fashion_mnist(train, small_data):
    """This copy of MNIST, with 3 as the label of all images, is learned at once."""
    shutil.copytree(small_data / "MNIST", small_data / "FashionMNIST")
    for path in (small_data / "FashionMNIST" / "raw").glob("*-labels-*"):
        content = path.read_bytes()
        path.write_bytes(content[:8] + bytes([3] * (len(content) - 8)))
    lines = train("--epochs", 1, "--lr", 0.1, script=changed("Fashion-MNIST"))
    assert lines[-2].startswith("Model Accuracy: 100.00 %")


@pytest.mark.parametrize("others", [[], ["convolution"]])
def test_normalise(others):
    """The pixels, and not what another layer makes of them."""
    model = changed(*others, "normalise").make_model()
    images = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 1, 28, 28)
    pixels = model[0](images)[:, 0, 0, 0]
    torch.testing.assert_close(pixels, torch.tensor([-0.1307, 1 - 0.1307]) / 0.3081)
    assert model(images).shape == (2, 10)


def test_layers_between_the_others():
    layers = [*map(type, changed("dropout", "ReLU").make_model())]
    assert layers == [nn.Flatten, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]


def test_label_smoothing(train):
    script = changed("label smoothing")

    def evaluate(model, criterion, *_):
        assert criterion.label_smoothing == 0.1
        return 0.0, 1.0

    script.evaluate = evaluate
    train("--epochs", 1, script=script)


def test_adam(train, steps):
    train("--epochs", 1, *ONE_STEP, script=changed("Adam"))
    assert (steps[0]["kind"], steps[0]["lr"]) == (torch.optim.Adam, 0.003)


def test_momentum(train, steps):
    train("--epochs", 1, *ONE_STEP, script=changed("momentum"))
    assert (steps[0]["momentum"], steps[0]["lr"]) == (0.9, 0.003)


@pytest.mark.parametrize(("name", "convolutions"), [("convolution", 2), ("resnet", 20)])
def test_other_models(name, convolutions):
    model = changed(name).make_model()
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert sum(type(part) is nn.Conv2d for part in model.modules()) == convolutions


@pytest.fixture
def datasets(train, evaluated, monkeypatch):
    """A function that returns the data sets that a script trains and evaluates with."""

    def datasets(script):
        loaded = []

        def load(dataset, **options):
            loaded.append(dataset)
            return DataLoader(dataset, **options)

        monkeypatch.setattr(script, "DataLoader", load)
        evaluated(script, 1.0, 2.0)
        train("--epochs", 1, script=script)
        return loaded

    return datasets


def are_parts(datasets, whole):
    """Say whether the data sets are parts of a whole that do not overlap."""
    indices = [index for dataset in datasets for index in dataset.indices]
    return sorted(indices) == list(range(len(whole)))


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


def linear_model():
    """Return a model that takes ResNet's place where it is not tested."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 224**2, 4))


def test_photos_are_counted_and_split_by_the_seed(train, photos, evaluated):
    calls = evaluated(photos, *range(3))
    photos.make_model = linear_model
    for seed in (1, 1, 2):
        lines = train("--epochs", 1, "--seed", seed, script=photos)
    assert lines[1:5] == [f"5 photos of {name}" for name in COLOURS]
    same, again, other = (dataset.indices for _, dataset in calls)
    assert len(same) == 4 and same == again != other


def test_photos_are_turned_upright(photos):
    picture = Image.new("RGB", (60, 40), "white")
    picture.paste("black", (0, 0, 20, 40))
    picture.save("upright.jpg")
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # to be turned clockwise
    turned.save("turned.jpg", exif=turned.getexif())
    expected, image = (
        to_tensor(photos.read_data().loader(path))
        for path in ("upright.jpg", "turned.jpg")
    )
    torch.testing.assert_close(image, expected, atol=0.1, rtol=0)


def test_transparent_parts_of_photos_are_white(photos):
    Image.new("RGBA", (60, 40), (0, 0, 0, 0)).save("transparent.png")
    assert to_tensor(photos.read_data().loader("transparent.png")).min() == 1


def test_photos_that_cannot_be_read(photos):
    Path("pictures/cat/0.jpg").write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match="cannot read pictures.cat.0.jpg: "):
        list(photos.read_data())
    Path("pictures/eel").mkdir()
    Path("pictures/eel/1.heic").touch()
    with pytest.raises(FileNotFoundError, match="Found no valid file"):
        photos.read_data()


@pytest.fixture
def classify(photos, monkeypatch, capsys):
    """A function that returns what classify.py prints of a photo in a colour."""

    def classify(colour):
        Image.new("RGB", (400, 500), colour).save("new.png")
        monkeypatch.setitem(sys.modules, "train_mnist", photos)
        monkeypatch.setattr(sys, "argv", ["classify.py", "new.png"])
        exec(block("python classify.py"), {})
        return capsys.readouterr().out

    return classify


@pytest.mark.slow
def test_photos_and_the_class_of_a_new_one(train, photos, classify):
    lines = train("--epochs", 8, "--batch-size", 4, "--lr", 0.01, script=photos)
    assert lines[-2].startswith("Model Accuracy: 100.00 %")
    for name, colour in COLOURS.items():
        assert classify(colour) == f"{name}\n"


def test_folder_added_after_training_is_an_error(photos, classify):
    torch.save(photos.make_model().state_dict(), CHECKPOINT)
    assert classify("red").strip() in COLOURS
    shutil.copytree("pictures/ant", "pictures/another")
    with pytest.raises(RuntimeError, match=r"Error\(s\) in loading state_dict"):
        classify("red")


def test_own_data_with_validation_and_augmentation(photos, datasets, monkeypatch):
    monkeypatch.setattr(torchvision.datasets, "MNIST", None)  # is never read
    for path in Path("pictures").glob("*/*.jpg"):  # so that a crop can be seen
        Image.radial_gradient("L").save(path)
    names = "own data", "photos", "own validation", "photo augmentation", "best epoch"
    script = changed(*names)
    script.make_model = linear_model
    training, validation, test = parts = datasets(script)
    plain = script.read_data()
    assert [*map(len, parts)] == [16, 2, 2] and are_parts(parts, plain)
    for part, is_plain in ((training, False), (validation, True), (test, True)):
        image = plain[part.indices[0]][0]
        assert torch.equal(part[0][0], image) == is_plain
        assert torch.equal(part[0][0], part[0][0]) == is_plain


LINEAR = "        nn.Linear(4, 64),"
(NORM,) = re.findall(r"`(nn\.BatchNorm1d\(.*\),)`\. ", CHANGES)


@pytest.mark.parametrize(("scale", "first"), [(1, ""), (1000, NORM)])
def test_table_and_the_class_of_a_new_row(
    train, home, monkeypatch, capsys, scale, first
):
    """The rows of a class are near a corner of their own; the new row is in class 2."""
    torch.manual_seed(1)
    corners = torch.tensor([[1, 9, 1, 9], [9, 1, 9, 1], [5.1, 3.5, 1.4, 0.2]])
    corners[:2, 0] *= scale
    rows = (corners + torch.randn(40, 3, 4) / 2).flatten(0, 1).tolist()
    lines = [f"{str(row)[1:-1]}, {number % 3}" for number, row in enumerate(rows)]
    Path("table.csv").write_text("\n".join(["a,b,c,d,class", *lines, ""]), "utf-8")
    script = module(make("own data", "table").replace(LINEAR, f"{first}\n{LINEAR}"))
    flags = block("sh few").split()[2:]
    assert train(*flags, script=script)[-2].startswith("Model Accuracy: 100.00 %")
    monkeypatch.setitem(sys.modules, "train_mnist", script)
    start = block("python classify.py").split("dataset")[0]
    exec(start + block("python new row"), {})
    assert capsys.readouterr().out == "2\n"


def test_augmentation(train):
    """With no learning and all samples in one batch, only the images can differ."""
    flags = ("--epochs", 2, "--lr", 0, *ONE_STEP)
    *plain, plain_eval, _ = train(*flags)
    *augmented, augmented_eval, _ = train(*flags, script=changed("augmentation"))
    losses = [line.split("Loss: ")[1] for line in plain + augmented if "Step" in line]
    assert losses[0] == losses[1] and len(set(losses)) == 3
    assert plain_eval.split(", Time")[0] == augmented_eval.split(", Time")[0]


def test_schedule(train, steps):
    train("--epochs", 7, "--lr", 0.4, *ONE_STEP, script=changed("schedule"))
    rates = [step["lr"] for step in steps]
    assert rates == [0.4, 0.4, 0.4, 0.2, 0.2, 0.2, 0.1]


def test_loss_curves_of_two_runs(train, plots):
    """Each has its own picture, beside the checkpoint."""
    script, flags = changed("loss curve"), ("--epochs", 2, "--log-interval", 1)
    train(*flags, "--checkpoint", "adam.pth", script=script)
    lines = train(*flags, "--checkpoint", "sgd.pth", script=script)
    assert plots.subplots.call_count == 2
    paths = [call.args for call in plots.savefig.call_args_list]
    assert paths == [(Path("adam.png"),), (Path("sgd.png"),)]
    training, evaluation = plots.axes.plot.call_args_list[2:]
    (steps, losses), (epochs, eval_losses, _) = training.args, evaluation.args
    assert (steps[9], steps[19], list(epochs)) == (1, 2, [1, 2])
    printed = [line for line in lines if "Step" in line]
    assert [f"{loss:.4f}" for loss in losses] == [line[-6:] for line in printed]
    assert f"Eval Loss: {eval_losses[1]:.4f}," in lines[-2]
    labels = [call.kwargs["label"] for call in (training, evaluation)]
    assert labels == ["training", "evaluation"] and training.kwargs["alpha"] < 0.5


@pytest.mark.parametrize("others", [[], ["ReLU", "Adam", "loss curve"]])
def test_validation_and_best_epoch(train, evaluated, plots, others):
    script = changed(*others, "validation", "best epoch")
    calls = evaluated(script, 30.0, 50.0, 40.0, 50.0, 77.0)
    lines = train("--epochs", 4, script=script)
    assert lines[-1] == "Test Accuracy: 77.00 %"
    biases, datasets = zip(*calls)
    assert [*torch.load(CHECKPOINT).values()][-1].tolist() == biases[1] == biases[4]
    assert [len(dataset) for dataset in datasets] == [64, 64, 64, 64, 100]
    assert plots.savefig.called == ("loss curve" in others)


def test_augmentation_and_validation_evaluate_plain_images(datasets, small_data):
    names = "convolution", "augmentation", "schedule", "validation", "best epoch"
    training, validation, _ = datasets(changed(*names))
    plain = train_mnist.read_mnist(small_data, train=True)
    assert are_parts((training, validation), plain)
    for number, index in enumerate(validation.indices):
        assert torch.equal(validation[number][0], plain[index][0])
    assert not torch.equal(training[0][0], plain[training.indices[0]][0])


@pytest.mark.parametrize(
    "names",
    [
        "going on, loss curve",
        "going on, best epoch",
        "best epoch, going on",
        "own data, augmentation",
        "own data, validation",
        "ReLU, ReLU",
        "validation, best epoch, best epoch",
        "ReLU, convolution",
        "convolution, resnet",
        "table",
        "photo augmentation",
    ],
)
def test_changes_that_do_not_go_together(names):
    *_, last = names = names.split(", ")
    with pytest.raises(ValueError, match=f"^'{last}' does not fit: "):
        changed(*names)


def check_going_on(train, script, *flags):
    *_, expected, _ = train(*flags, "--epochs", 4, script=script)
    saved = torch.load(CHECKPOINT)
    train(*flags, "--epochs", 2, script=script)
    *_, resumed, _ = train(*flags, "--epochs", 4, "--resume", script=script)
    assert resumed.split(", Time")[0] == expected.split(", Time")[0]
    assert all(map(torch.equal, torch.load(CHECKPOINT).values(), saved.values()))


@pytest.mark.parametrize(
    "others", [[], ["dropout", "momentum"], ["augmentation", "Adam"]]
)
def test_going_on_gives_the_same_bits(train, others):
    check_going_on(train, changed(*others, "going on"), "--batch-size", 160)


def test_going_on_with_a_schedule(train, steps):
    script = changed("Adam", "schedule", "going on", "going on with a schedule")
    check_going_on(train, script, *ONE_STEP, "--lr", 2)
    assert [step["lr"] for step in steps] == [2, 2, 2, 1, 2, 2, 2, 1]


@pytest.mark.slow
def test_going_on_with_photos(train, photos):
    names = "photos", "Adam", "schedule", "going on", "going on with a schedule"
    check_going_on(train, changed("own data", *names), "--batch-size", 8)


def test_trainer_of_the_next_post(train, photos, steps):
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


@pytest.mark.parametrize("name", [*EXPERIMENTS, *MISTAKES])
def test_experiment_trains(train, name):
    script, flags = make_script(name)
    train("--epochs", 1, *flags, script=module(script))
