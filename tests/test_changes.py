"""The documents' changes: each has its effect, and so have combinations of them.

changed("ReLU", "schedule") is the script with these changes, named by their row or
their block. train(..., script=...) trains it on the small data set. Add a test of its
effect here for each new change.
"""

import shutil
import sys
from unittest.mock import MagicMock

import pytest
import torch
from documents import make
from experiments import EXPERIMENTS, MISTAKES, make_script
from helpers import (
    CHECKPOINT,
    TOGETHER,
    are_parts,
    changed,
    check_going_on,
    loaded,
    module,
)
from torch import nn

import train_mnist

ONE_STEP = ("--batch-size", 640)  # all samples of small_data


@pytest.fixture
def plots(monkeypatch):
    """What is asked of matplotlib, which is not installed for the tests."""
    pyplot = MagicMock()
    pyplot.subplots.return_value = None, pyplot.axes
    monkeypatch.setitem(sys.modules, "matplotlib", MagicMock(pyplot=pyplot))
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", pyplot)
    return pyplot


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
    model = changed("hidden layer", "dropout").make_model()
    assert [type(layer).__name__ for layer in model] == [
        *("Flatten", "Linear", "Dropout", "ReLU", "Linear", "ReLU", "Linear")
    ]
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)


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
    train(*flags, "--checkpoint", "lr0.1", script=script)
    lines = train(*flags, "--checkpoint", "lr0.03", script=script)
    assert plots.subplots.call_count == 2
    paths = [call.args for call in plots.savefig.call_args_list]
    assert paths == [("lr0.1.png",), ("lr0.03.png",)]
    training, evaluation = plots.axes.plot.call_args_list[2:]
    (steps, losses), (epochs, eval_losses, _) = training.args, evaluation.args
    assert (steps[9], steps[19], list(epochs)) == (1, 2, [1, 2])
    printed = [line for line in lines if "Step" in line]
    assert [f"{loss:.4f}" for loss in losses] == [line[-6:] for line in printed]
    assert {*map(type, losses)} == {float}  # a tensor would keep its graph
    assert f"Eval Loss: {eval_losses[1]:.4f}," in lines[-2]
    labels = [call.kwargs["label"] for call in (training, evaluation)]
    assert labels == ["training", "evaluation"] and training.kwargs["alpha"] < 0.5


def test_loss_curve_after_an_early_stop(train, plots):
    text = make("loss curve")
    result = "        # Checkpoint\n"
    assert text.count(result) == 1
    train("--epochs", 4, script=module(text.replace(result, "        break\n")))
    (epochs, eval_losses, _) = plots.axes.plot.call_args.args
    assert len(epochs) == len(eval_losses) == 1


@pytest.mark.parametrize("names", [("validation", "best epoch"), TOGETHER[0]])
def test_validation_and_best_epoch(train, plots, names):
    """The second epoch is the best; the fourth is as good."""
    script = changed(*names)
    results, weights, sizes = iter([30.0, 50.0, 40.0, 50.0, 77.0]), [], []

    def evaluate(model, criterion, eval_loader, device):
        weights.append(model[-1].bias.tolist())
        sizes.append(len(eval_loader.dataset))
        return next(results), 1.0

    script.evaluate = evaluate
    lines = train("--epochs", 4, script=script)
    assert lines[-1] == "Test Accuracy: 77.00 %"
    assert sizes == [64, 64, 64, 64, 100]
    saved = [*torch.load(CHECKPOINT).values()][-1].tolist()
    assert saved == weights[1] == weights[4] != weights[3]
    assert plots.savefig.called == ("loss curve" in names)


def test_augmentation_and_validation_evaluate_plain_images(train, small_data):
    training, validation, test = loaded(changed(*TOGETHER[1]), train)
    plain = train_mnist.read_mnist(small_data, train=True)
    assert are_parts((training, validation), plain) and len(test) == 100
    for number, index in enumerate(validation.indices):
        assert torch.equal(validation[number][0], plain[index][0])
    assert not torch.equal(training[0][0], plain[training.indices[0]][0])
    _, other, _ = loaded(changed(*TOGETHER[1]), train, "--seed", 2)
    assert other.indices != validation.indices


@pytest.mark.parametrize(
    "names",
    [
        "going on, loss curve",
        "validation, going on, best epoch",
        "validation, best epoch, going on",
        "own data, augmentation",
        "own data, validation",
        "ReLU, convolution",
        "convolution, resnet",
    ],
)
def test_changes_that_do_not_go_together(names):
    *_, last = names = names.split(", ")
    with pytest.raises(ValueError, match=f"^'{last}' does not fit: "):
        make(*names)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ("normalise, convolution", "'convolution' has to come before 'normalise'"),
        ("Adam, photos", "'photos' has to come after 'own data'"),
        ("table, own data", "'table' has to come after 'own data'"),
        ("photo augmentation", "'photo augmentation' has to come after 'own data'"),
        ("best epoch, Adam", "'best epoch' has to come after 'validation'"),
        ("ReLU, ReLU", "'ReLU' stands there twice"),
    ],
)
def test_changes_in_the_wrong_order(names, problem):
    with pytest.raises(ValueError, match=f"^{problem}$"):
        make(*names.split(", "))


@pytest.mark.parametrize(
    "others", [[], ["dropout", "momentum"], ["augmentation", "Adam"]]
)
def test_going_on_gives_the_same_bits(train, others):
    check_going_on(train, changed(*others, "going on"), "--batch-size", 160)


@pytest.mark.parametrize("names", [("schedule", "going on"), ("going on", "schedule")])
def test_going_on_with_a_schedule(train, steps, names):
    check_going_on(train, changed("Adam", *names), *ONE_STEP, "--lr", 2)
    rates = [2, 2, 2, 1, 1, 1, 0.5]
    assert [step["lr"] for step in steps] == [*rates, *rates[:4], *rates[4:]]


def test_runs_with_dots_in_their_names_do_not_share_a_resume_file(train):
    script = changed("going on")
    for rate in ("0.1", "0.03"):
        train("--epochs", 1, "--lr", rate, "--checkpoint", f"lr{rate}", script=script)
    flags = ("--epochs", 1, "--resume", "--lr", 0.1, "--checkpoint", "lr0.1")
    assert train(*flags, script=script)[-1] == "Checkpoint: lr0.1"


@pytest.mark.parametrize(
    ("names", "flags"),
    [
        (["momentum"], []),
        (["Adam"], []),
        ([], ["--lr", 0.1]),
        ([], ["--seed", 2]),
        ([], ["--batch-size", 65]),
    ],
)
def test_going_on_with_other_settings_is_refused(train, names, flags):
    train("--epochs", 1, script=changed("going on"))
    with pytest.raises(
        SystemExit,
        match="^error: the stopped run had --seed 1 --batch-size 64 --lr 0.003, ",
    ):
        train("--resume", *flags, script=changed(*names, "going on"))


def test_wrong_resume_files_are_named(train, capsys):
    script = changed("going on")
    train("--epochs", 1, script=script)
    shutil.copy(CHECKPOINT, "plain.resume")
    open("empty.resume", "w").close()
    for name, error in (("plain", KeyError), ("empty", EOFError)):
        with pytest.raises(error):
            train("--resume", "--checkpoint", name, script=script)
        assert capsys.readouterr().out.endswith(f"Resuming from: {name}.resume\n")


@pytest.mark.parametrize("name", [*EXPERIMENTS, *MISTAKES])
def test_experiment_trains(train, name):
    script, flags = make_script(name)
    train("--epochs", 1, *flags, script=module(script))
