"""The documents' changes: each has its effect, and so have combinations of them.

changed("ReLU", "schedule") is the script with these changes, named by their row or
their block; file="train_photos.py" is another script. train(..., script=...) trains it
on the small data set. Add a test of its effect here for each new change.
"""

import math
import re
import runpy
import shutil
import sys
from pathlib import Path
from unittest.mock import MagicMock, call

import pytest
import torch
from documents import CHANGES, KOREAN, PLACES, blocks, changes, make, table
from experiments import EXPERIMENTS, MISTAKES, make_script
from helpers import (
    CHECKPOINT,
    EXAMPLES,
    SCRIPTS,
    TOGETHER,
    changed,
    check_going_on,
    linear_model,
    loaded,
    module,
)
from torch import nn
from torch.utils.data import random_split

MNIST = SCRIPTS["train_mnist.py"]
NAMES = [name for name in changes() if " + " not in name]
ONE_STEP = ("--batch-size", 640)  # all samples of small_data
FOUR_STEPS = ("--batch-size", 160)


@pytest.fixture
def plots(monkeypatch):
    """What is asked of matplotlib, which is not installed for the tests."""
    pyplot = MagicMock()
    pyplot.subplots.return_value = None, pyplot.axes
    monkeypatch.setitem(sys.modules, "matplotlib", MagicMock(pyplot=pyplot))
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", pyplot)
    return pyplot


def scripts_for(name):
    """Return the scripts that a change is for, according to the documents."""
    rows = {row[0].split(" (")[0]: row[1] for row in table("| change | where | line |")}
    if name in rows:
        return [file for file in SCRIPTS if PLACES[rows[name]] + "\n" in SCRIPTS[file]]
    if f"\n```diff {name}\n" in KOREAN:
        return ["train_photos.py"]
    section = CHANGES.split(f"\n```diff {name}\n")[0].split("\n#")[-1]
    if "For all three scripts." in section:
        return list(SCRIPTS)
    files = re.findall(r"For (?:a copy of )?`(train_.*?\.py)`", section)
    assert len(files) == 1, f"{name!r}: for which script is it?"
    return files


@pytest.mark.parametrize("name", NAMES)
def test_each_change_runs_in_its_scripts_and_is_refused_by_others(
    train, plots, own_data, name
):
    before = ["validation"] if name == "best epoch" else []
    fitting = []
    for file in SCRIPTS:
        try:
            script = changed(*before, name, file=file)
        except ValueError as error:
            words = ("does not fit: the line ", "has to come after 'digits'")
            assert str(error).startswith(tuple(f"{name!r} {word}" for word in words))
            continue
        fitting.append(file)
        if file == "train_photos.py" and name != "digits":
            script.make_model = linear_model
        if name != "Fashion-MNIST":  # has a test of its own, and data of its own
            lines = train("--epochs", 1, script=script)
            assert any(line.startswith("Model Accuracy: ") for line in lines)
    also = ["train_photos.py"] if name == "augmentation" else []  # own digits
    assert fitting == [*scripts_for(name), *also]


@pytest.mark.parametrize(("file", "names"), TOGETHER)
def test_combination_runs(train, plots, own_data, file, names):
    script = changed(*names, file=file)
    if file == "train_photos.py":
        script.make_model = linear_model
    train("--epochs", 2, script=script)


def test_each_change_has_a_test():
    tests = Path(__file__).read_text("utf-8")
    tests += Path(__file__).with_name("test_own_data.py").read_text("utf-8")
    for name in NAMES:
        assert f'"{name}"' in tests, f"{name!r} has no test of its effect"


def test_each_line_of_the_table_is_an_assignment_or_a_layer():
    for name, _, line in table("| change | where | line |"):
        assert re.fullmatch(r"`\w+ = .*\)`|`(nn|torchvision)\..*\),`", line), name


def test_blocks_of_one_name_are_an_error():
    with pytest.raises(ValueError, match="two blocks have one name: 'sh a'"):
        blocks("```sh a\n1\n```\n```sh a\n2\n```\n")


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ("going on, loss curve", "'loss curve' does not fit: the line 'for epoch in "),
        ("loss curve, going on", "'going on' does not fit: the line 'for epoch in "),
        ("validation, going on, best epoch", "'best epoch' does not fit: the line "),
        ("validation, best epoch, going on", "'going on' does not fit: the line "),
        ("ReLU, convolution", "'convolution' does not fit: the line "),
        ("convolution, resnet", "'resnet' does not fit: the line .nn.Flatten"),
        ("best epoch, Adam", "'best epoch' has to come after 'validation'$"),
        ("Adam, momentum", "'momentum' does not fit: the line 'optimizer = torch.opt"),
        ("ReLU, ReLU", "'ReLU' is there already$"),
        ("ReLU, dropout, ReLU", "'ReLU' does not fit: 'nn.ReLU.*' is there already$"),
        ("schedule, schedule", "'schedule' is there already$"),
    ],
)
def test_changes_that_do_not_fit(names, problem):
    with pytest.raises(ValueError, match=f"^{problem}"):
        make(MNIST, *names.split(", "))


@pytest.mark.parametrize(
    "names",
    [
        "tutorial-2, schedule",
        "schedule, tutorial-2",
        "augmentation, photo augmentation",
        "photo augmentation, augmentation",
        "digits, photo augmentation",
        "photo augmentation, digits",
        "digits, tutorial-2",
    ],
)
def test_changes_of_photos_that_do_not_fit(names):
    *_, last = names = names.split(", ")
    with pytest.raises(ValueError, match=f"^'{last}' does not fit: "):
        make(SCRIPTS["train_photos.py"], *names)


def test_another_order_is_named():
    with pytest.raises(ValueError, match="'digits' has to come before 'augmentation'$"):
        make(SCRIPTS["train_photos.py"], "Adam", "augmentation", "schedule", "digits")


def test_runs_in_one_picture(home, plots, monkeypatch):
    for name, loss in (("a.pth", 1.0), ("b.pth", 2.0)):
        torch.save(([9.0] * 10, [loss, loss / 2]), f"{name}.losses")
    monkeypatch.setattr(sys, "argv", ["compare_runs.py", "a.pth", "b.pth"])
    runpy.run_path(str(EXAMPLES / "compare_runs.py"), run_name="__main__")
    drawn = [line.args[1] for line in plots.axes.plot.call_args_list]
    labels = [line.kwargs["label"] for line in plots.axes.plot.call_args_list]
    assert (drawn, labels) == ([[1.0, 0.5], [2.0, 1.0]], ["a.pth", "b.pth"])
    assert plots.mock_calls[-1] == call.savefig("compared.png")


def test_a_place_that_stands_twice_is_refused():
    (line,) = [old for old, _ in changes()["loss curve"] if "optimizer.step" in old]
    with pytest.raises(ValueError, match="'optimizer.step.*' stands there twice$"):
        make(MNIST.replace(line, line * 2), "loss curve")


def test_own_edits_stay_and_changes_add_up():
    own = re.sub("( +)optimizer.zero_grad.*", r"\1model.zero_grad()", MNIST)
    one_by_one = own
    for name in ("ReLU", "loss curve", "Adam"):
        one_by_one = make(one_by_one, name)
    assert one_by_one == make(own, "ReLU", "loss curve", "Adam") != own
    assert "model.zero_grad()" in one_by_one


@pytest.mark.parametrize("equals", [" = ", "=", ": object = "])
def test_a_scheduler_of_the_users_own(equals):
    """It is saved with the rest; a second one does not come beside it."""
    optimizer = PLACES["step 4"] + "\n"
    own = (
        f"    scheduler{equals}torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)\n"
    )
    script = MNIST.replace(optimizer, optimizer + own)
    assert "scheduler.load_state_dict" in make(script, "going on")
    with pytest.raises(ValueError, match="'scheduler' is there already$"):
        make(script, "schedule")
    changed_by_hand = make(MNIST, "going on").replace(
        '            "optimizer": optimizer.state_dict(),\n', ""
    )
    with pytest.raises(ValueError, match="^'schedule . going on' does not fit: "):
        make(changed_by_hand, "schedule")


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
    model = changed("normalise", *others).make_model()
    images = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 1, 28, 28)
    pixels = model[0](images)[:, 0, 0, 0]
    torch.testing.assert_close(pixels, torch.tensor([-0.1307, 1 - 0.1307]) / 0.3081)
    assert model(images).shape == (2, 10)


def layers(model):
    return [type(layer).__name__ for layer in model]


def test_layers_between_the_others():
    assert layers(changed("ReLU").make_model()) == "Flatten Linear ReLU Linear".split()
    assert layers(changed("dropout").make_model())[2] == "Dropout"
    model = changed("hidden layer", "dropout").make_model()
    assert layers(model) == "Flatten Linear Dropout ReLU Linear ReLU Linear".split()
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_convolution():
    block = "Conv2d ReLU MaxPool2d ".split()
    model = changed("convolution").make_model()
    assert layers(model) == [*block, *block, "Flatten", "Linear"]
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_resnet():
    model = changed("resnet").make_model()
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert sum(type(part) is nn.Conv2d for part in model.modules()) == 20


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


def test_augmentation(train):
    """With no learning and all samples in one batch, only the images can differ."""
    flags = ("--epochs", 2, "--lr", 0, *ONE_STEP)
    *plain, plain_eval, _ = train(*flags)
    *augmented, augmented_eval, _ = train(*flags, script=changed("augmentation"))
    losses = [line.split("Loss: ")[1] for line in plain + augmented if "Step" in line]
    assert losses[0] == losses[1] and len(set(losses)) == 3
    assert plain_eval.split(", Time")[0] == augmented_eval.split(", Time")[0]


def test_schedule(train, steps):
    """Four steps an epoch: the rate changes from epoch to epoch alone."""
    train("--epochs", 7, "--lr", 0.4, *FOUR_STEPS, script=changed("schedule"))
    rates = [step["lr"] for step in steps]
    assert rates == [0.4] * 12 + [0.2] * 12 + [0.1] * 4


def test_loss_curves_of_two_runs(train, plots):
    """Each has its own picture and its own numbers, beside the checkpoint."""
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
    plots.axes.set.assert_called_with(xlabel="epoch", ylabel="loss")
    assert plots.mock_calls[-1] == call.savefig("lr0.03.png")  # all has been drawn
    assert {*map(type, losses)} == {float}  # a tensor would keep its graph
    assert f"Eval Loss: {eval_losses[1]:.4f}," in lines[-2]
    labels = [call.kwargs["label"] for call in (training, evaluation)]
    assert labels == ["training", "evaluation"] and training.kwargs["alpha"] < 0.5
    assert torch.load("lr0.03.losses") == (losses, eval_losses)


def test_validation_divides_what_is_there(train, small_data):
    """Here, after a filter of the user's own; the test data are those of before."""
    text = make(MNIST, "validation")
    place = "    test_dataset = eval_dataset\n"
    own = (
        "    train_dataset = [pair for pair in train_dataset if pair[1] in (3, 5, 8)]\n"
    )
    assert text.count(place) == 1
    text = text.replace(place, own + place)
    training, validation, test = loaded(module(text), train)
    assert {digit for _, digit in (*training, *validation)} == {3, 5, 8}
    assert len(test) == 100 and len(training) > 8 * len(validation) > 0
    ours = sorted(training.indices + validation.indices)
    assert training.dataset is validation.dataset and ours == [*range(len(ours))]
    _, other, _ = loaded(module(text), train, "--seed", 2)
    assert other.indices != validation.indices


def test_validation_has_a_sample_if_there_are_few():
    """As in the diff, the smaller part comes first, so that it has what is left."""
    (split,) = re.findall(r"random_split\(\n.*, (\[.*\])", CHANGES)
    assert [*map(len, random_split(range(8), eval(split)))] == [1, 7]


@pytest.mark.parametrize("names", [("validation", "best epoch"), TOGETHER[0][1]])
def test_validation_and_best_epoch(train, plots, names):
    """The second epoch is the best, and so is the fourth, which is the one to keep."""
    script = changed(*names)
    results, weights, sizes = iter([0.0, 50.0, 40.0, 50.0, 45.0, 77.0]), [], []

    def evaluate(model, criterion, eval_loader, device):
        weights.append(model[-1].bias.tolist())
        sizes.append(len(eval_loader.dataset))
        return next(results), 1.0

    script.evaluate = evaluate
    lines = train("--epochs", 5, script=script)
    assert lines[-1] == "Test Accuracy: 77.00 %"
    assert sizes == [64, 64, 64, 64, 64, 100]
    saved = [*torch.load(CHECKPOINT).values()][-1].tolist()
    assert saved == weights[3] == weights[5] != weights[1]
    assert plots.savefig.called == ("loss curve" in names)


@pytest.mark.parametrize(
    "others", [[], ["dropout", "momentum"], ["augmentation", "Adam"]]
)
def test_going_on_gives_the_same_bits(train, others):
    check_going_on(train, changed("going on", *others), *FOUR_STEPS)


@pytest.mark.parametrize("names", [("schedule", "going on"), ("going on", "schedule")])
def test_going_on_with_a_schedule(train, steps, names):
    """In one command or two, the two lines that both need are made."""
    text = MNIST
    for name in names:
        text = make(text, name)
    assert text == make(MNIST, *names)
    check_going_on(train, module(make(text, "Adam")), *ONE_STEP, "--lr", 2)
    rates = [2, 2, 2, 1, 1, 1, 0.5]
    assert [step["lr"] for step in steps] == [*rates, *rates[:4], *rates[4:]]


def test_runs_with_dots_in_their_names_do_not_share_a_resume_file(train):
    script = changed("going on")
    for rate in ("0.1", "0.03"):
        train("--epochs", 1, "--lr", rate, "--checkpoint", f"lr{rate}", script=script)
    flags = ("--epochs", 2, "--resume", "--lr", 0.1, "--checkpoint", "lr0.1")
    assert train(*flags, script=script)[-1] == "Checkpoint: lr0.1"


@pytest.mark.parametrize(
    ("names", "flags"),
    [
        (["momentum"], []),
        (["Adam"], []),
        (["validation"], []),  # 576 samples in place of 640, and as many steps
        ([], ["--lr", 0.1]),
        ([], ["--seed", 2]),
        ([], ["--batch-size", 65]),
    ],
)
def test_going_on_with_other_settings_is_refused(train, names, flags):
    train("--epochs", 1, script=changed("going on"))
    with pytest.raises(
        SystemExit,
        match="^error: the stopped run had --seed 1 --batch-size 64 --lr 0.003, 640 sa",
    ):
        train("--resume", *flags, script=changed(*names, "going on"))


def test_a_loss_that_is_not_finite_ends_best_epoch_too(train):
    script, results = changed("validation", "best epoch"), iter([1.0, math.nan])
    script.evaluate = lambda *_: (50.0 - (loss := next(results)), loss)
    with pytest.raises(SystemExit, match="the loss is nan"):
        train("--epochs", 2, script=script)


def test_going_on_when_the_epochs_are_done_is_refused(train, monkeypatch):
    """The random state must be on the CPU, whatever the device."""
    train("--epochs", 2, script=changed("going on"))
    saved = torch.load(f"{CHECKPOINT}.resume")
    monkeypatch.setattr(torch, "load", lambda *args: {"cpu": saved}[args[1]])
    with pytest.raises(SystemExit, match="^error: --epochs must be more than 2$"):
        train("--epochs", 2, "--resume", "--device", "meta", script=changed("going on"))


def test_stop_while_the_resume_file_is_saved(train, monkeypatch):
    """That of the epoch before is still whole."""
    script, save, calls = changed("going on"), torch.save, []

    def stop(state, file):
        calls.append(file)
        if len(calls) == 4:  # the second epoch's second file
            Path(file).write_bytes(b"half")
            raise KeyboardInterrupt
        save(state, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            train("--epochs", 3, script=script)
    assert torch.load(f"{CHECKPOINT}.resume")["epoch"] == 1
    train("--epochs", 3, "--resume", script=script)


@pytest.mark.parametrize("name", [*EXPERIMENTS, *MISTAKES])
def test_experiment_trains(train, name):
    script, flags = make_script(name)
    train("--epochs", 1, *flags, script=module(script))
