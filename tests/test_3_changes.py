"""Whatever the post's listing takes, the script takes: changes and their effects.

A change is written as in the README's table "Make it yours", and made to a copy.
"""

import os
import re
import shutil
import types

import experiments
import pytest
import torch
from conftest import CHECKPOINT, results
from PIL import Image
from readme import changed, rows, section
from torch import nn

import train_mnist

README = dict(rows(section("Make it yours")))


def in_readme(word):
    """Return the README's change whose name, alone, has the word in it."""
    (change,) = [change for name, change in README.items() if word in name]
    return change


@pytest.fixture
def make(train):
    """Run main() of a changed copy, with names set in it; return its variables."""

    def make(change, *flags, **names):
        imported = "below `import torchvision`: `from torchvision import transforms`"
        ending = 'below `print(f"Checkpoint: `: `main.variables = locals()`'
        module = types.ModuleType("changed")
        module.__file__ = train_mnist.__file__
        exec(changed(f"{imported}<br>{change}<br>{ending}"), vars(module))  # noqa: S102
        vars(module).update(names)
        lines = train("--log-interval", 1, *flags, main=module.main)
        return types.SimpleNamespace(**module.main.variables, lines=results(lines))

    return make


def batches(loader):
    return torch.cat([inputs for inputs, _ in loader])


def changes_again(dataset):
    """Tell whether a sample is drawn anew each time, with the same target."""
    (one, target), (other, same_target) = dataset[0], dataset[0]
    return target == same_target and not torch.equal(one, other)


def is_shuffled(loader):
    """Tell whether each epoch has the same samples in another order."""
    one, other = (batches(loader).sum(dim=(1, 2, 3)) for _ in range(2))
    return torch.equal(one.sort()[0], other.sort()[0]) and not torch.equal(one, other)


def is_mean_loss(run):
    """Tell whether the printed loss is the criterion's of the whole test set."""
    inputs, targets = zip(*run.eval_dataset)
    logits = run.model(torch.stack(inputs).reshape(-1, 784))
    return f"Loss: {run.criterion(logits, torch.tensor(targets)):.4f}" in run.lines[-2]


FAKE = "torchvision.datasets.FakeData(99, (3, 32, 32), 12, transforms.ToTensor())"
COLOURED = f"`train_dataset = {FAKE}`<br>`eval_dataset = {FAKE}`<br>"
COLOURED += in_readme("coloured")
CONVOLUTION = (
    "in place of `nn.Linear(28`: `nn.Conv2d(1, 16, 5, 2), nn.Flatten(),`<br>"
    "in place of `nn.Linear(1024`: `nn.Linear(16 * 12 * 12, 10),`<br>"
    "without `inputs =`<br>"
    "in place of `outputs = model(inputs.r`: `outputs = model(inputs)`"
)
ADAM = "`optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)`"
TARGETS = "`mnist = torchvision.datasets.MNIST(data_dir, train, transforms.ToTensor(), "
TARGETS += "lambda digit: digit % 2, download=True)`"
LOADER = "`train_loader = DataLoader(train_dataset, batch_size=args.batch_size, "
SAMPLER = "torch.utils.data.WeightedRandomSampler([0.0] * 600 + [1.0] * 40, 200)"
MORE = "below `eval_dataset =`: `train_dataset = "
EVALUATE = "evaluate(model, criterion, eval_loader, args.device)"
CHANGES = [  # (change, its effect, epochs)
    ("", lambda run: is_shuffled(run.train_loader) and not is_shuffled(run.eval_loader), 1),
    (in_readme("normalise"), lambda run: abs(batches(run.train_loader).mean()) < 0.1
     and abs(batches(run.eval_loader).mean()) < 0.1, 1),
    (in_readme("augment"), lambda run: changes_again(run.train_dataset) > changes_again(run.eval_dataset), 1),
    (in_readme("own"), lambda run: run.lines[-2].startswith("Model Accuracy: 100.00 %"), 3),
    (COLOURED, lambda run: run.model[0].weight.grad.shape == (1024, 3072), 1),
    (TARGETS, lambda run: {target for _, target in run.train_dataset} == {0, 1}, 1),
    (f"{MORE}torch.utils.data.Subset(train_dataset, range(100))`", lambda run: run.total_step == 2, 1),
    (f"{MORE}torch.utils.data.ConcatDataset([train_dataset] * 2)`", lambda run: run.total_step == 20, 1),
    (in_readme("validation"), lambda run: len(run.eval_dataset) == 64
     and len({*run.train_dataset.indices} | {*run.eval_dataset.indices}) == 640, 1),
    (f"{LOADER}sampler={SAMPLER})`",
     lambda run: {image.sum().item() for image in batches(run.train_loader)}
     <= {image.sum().item() for image, _ in run.train_dataset[600:]}, 1),
    (f"below `nn.Linear(28`: `nn.Dropout(0.5),`<br>below `optimizer.step()`: `{EVALUATE}`",
     lambda run: not torch.equal(*(run.model(torch.ones(9, 784)) for _ in range(2))), 1),
    ("below `nn.Linear(28`: `nn.BatchNorm1d(1024),`",
     lambda run: run.model[1].num_batches_tracked == 20, 2),
    ("`criterion = nn.MultiMarginLoss()`", is_mean_loss, 1),
    (ADAM, lambda run: "exp_avg" in run.optimizer.state_dict()["state"][0], 1),
    ("`optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)`",
     lambda run: "momentum_buffer" in run.optimizer.state_dict()["state"][0], 1),
    (in_readme("learning rate"), lambda run: run.optimizer.param_groups[0]["lr"] == 0.003 / 4, 7),
    ("below `loss.backward()`: `nn.utils.clip_grad_norm_(model.parameters(), 1e-6)`",
     lambda run: 0 < nn.utils.clip_grad_norm_(run.model.parameters(), 1) < 1.01e-6, 1),
    (CONVOLUTION, lambda run: run.model[0].weight.grad.shape == (16, 1, 5, 5), 1),
    (in_readme("convolutional"), lambda run: run.model[1].weight.grad.shape == (16, 1, 5, 5), 1),
    (in_readme("mixed"), lambda run: run.outputs.dtype == torch.bfloat16, 1),
]  # fmt: skip


@pytest.mark.parametrize(("change", "effect", "epochs"), CHANGES)
def test_change(make, change, effect, epochs):
    assert effect(make(change, "--epochs", epochs))


@pytest.mark.parametrize(
    "change",
    [f"{LOADER}shuffle=True, num_workers=1)`",
     "`train_dataset = torchvision.datasets.MNIST(args.data_dir, transform=transforms.ToTensor())`"],
)  # fmt: skip
def test_the_same_in_another_way(make, change):
    assert make(change, "--epochs", 2).lines == make("", "--epochs", 2).lines


def test_another_of_torchvisions_data_sets(make, small_data):
    shutil.copytree(small_data / "MNIST", small_data / "FashionMNIST")
    for path in (small_data / "FashionMNIST" / "raw").glob("*-images-*"):
        path.write_bytes(path.read_bytes()[:16].ljust(path.stat().st_size, b"\0"))
    assert batches(make(in_readme("another"), "--epochs", 1).train_loader).sum() == 0


def test_pictures_in_folders(make, home):
    for folder in ("train/0", "train/1", "eval/0", "eval/1"):
        os.makedirs(f"pictures/{folder}")
        Image.new("RGB", (40, 30)).save(f"pictures/{folder}/one.png")
    run = make(in_readme("folders"), "--epochs", 1)
    for loader in (run.train_loader, run.eval_loader):
        assert batches(loader).shape == (2, 1, 28, 28)


def test_going_on_from_a_checkpoint(make, train):
    train("--epochs", 2)
    before = torch.load(CHECKPOINT, weights_only=True)
    make(in_readme("go on"), "--epochs", 1, "--lr", 1e-30)
    after = torch.load(CHECKPOINT, weights_only=True)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_keeping_the_best_epoch(make):
    accuracies, biases = iter((30.0, 50.0, 40.0)), []

    def evaluate(model, *_):
        biases.append(model[1].bias.tolist())
        return next(accuracies), 1.0

    make(in_readme("best"), "--epochs", 3, evaluate=evaluate)
    assert torch.load(CHECKPOINT, weights_only=True)["1.bias"].tolist() == biases[1]


def test_saving_the_optimizer_too_and_resuming(make):
    make(f"{in_readme('optimizer too')}<br>{ADAM}", "--epochs", 2)
    saved = torch.load(CHECKPOINT, weights_only=True)
    run = make(f"{ADAM}<br>{in_readme('resume')}", "--epochs", 1)
    assert saved["epoch"] == 2
    assert run.optimizer.state_dict()["state"][0]["step"] == 3 * run.total_step


@pytest.mark.parametrize(
    ("change", "error"),
    [(f"below `{anchor}`: `1 / 0`", ZeroDivisionError)
     for anchor in ("images = mnist", "model = make_model", "buffer =")]
    + [(TARGETS.replace("transforms.ToTensor()", "None"), TypeError)],
)  # fmt: skip
def test_a_bug_of_ones_own_shows_its_traceback(make, change, error):
    with pytest.raises(error):
        make(change)


def test_flags_reach_their_place(make):
    run = make("", "--epochs", 1, "--lr", 0.01, "--batch-size", 3)
    assert run.optimizer.param_groups[0]["lr"] == 0.01
    assert run.train_loader.batch_size == run.eval_loader.batch_size == 3


@pytest.mark.parametrize(("change", "flags", "accuracy"), experiments.read_table())
def test_experiment_of_the_readme(make, small_data, change, flags, accuracy):
    (small_data / "FashionMNIST").symlink_to(small_data / "MNIST")
    assert make(change, "--epochs", 1, *flags)
    assert re.fullmatch(r"\d\d\.\d\d %", accuracy)


def test_every_change_of_the_readme_is_made_here():
    """Each is found by a word of its own."""
    words = "normalise augment another folders own validation best convolutional "
    words += "coloured resume"
    words = [*words.split(), "go on", "learning rate", "mixed", "optimizer too"]
    assert sorted(map(in_readme, words)) == sorted(README.values())
