"""Each diff of the README's "Make it yours" is made to a copy, run, and has its effect.

A test has the name of its diff. What else a reader may change follows at the end.
"""

import importlib.util
import inspect
import os
import re
import shutil
import sys
import types
from itertools import product
from pathlib import Path

import own_picture
import pytest
import torch
from conftest import CHECKPOINT, without_times
from experiments import EXPERIMENTS, OPTIMIZER
from PIL import Image, ImageDraw
from readme import apply, changed, recipes
from torch import nn
from torch.utils.data import DataLoader

RECIPES = recipes()
ADAM = OPTIMIZER.format("Adam(model.parameters(), lr=args.lr)")


def load(text, folder):
    """Import a changed program under a name of its own."""
    path = folder / "changed.py"
    path.write_text(text, "utf-8")
    spec = importlib.util.spec_from_file_location("changed", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make(train, tmp_path):
    """Run main() of a copy with diffs; return what it printed, used and saved.

    names replace those of the copy, such as evaluate=...
    """

    def make(*diffs, flags=("--epochs", 1), **names):
        module = load(changed(*diffs), tmp_path)
        used = types.SimpleNamespace(loaders=[], model=None)

        def loader(*args, **options):
            used.loaders.append(DataLoader(*args, **options))
            return used.loaders[-1]

        vars(module).update(names, DataLoader=loader)
        original = module.evaluate

        def evaluate(model, *rest):
            used.model = model
            return original(model, *rest)

        module.evaluate = evaluate
        used.lines = train("--log-interval", 1, *flags, main=module.main)
        used.saved = torch.load(CHECKPOINT)
        return used

    return make


def inputs(loader):
    return torch.cat([inputs for inputs, _ in loader])


def save_pictures(mode):
    for part, name in product(("train", "eval"), ("ant", "bee", "cat")):
        os.makedirs(f"pictures/{part}/{name}")
        Image.new(mode, (40, 30)).save(f"pictures/{part}/{name}/one.png")


def test_every_change_has_its_test():
    for title in RECIPES:
        assert "test_" + re.sub(r"\W+", "_", title).strip("_").lower() in globals()


def test_own_data(make):
    run = make(RECIPES["Own data"], flags=("--epochs", 3))
    assert run.lines[-2].startswith("Model Accuracy: 100.00 %")


def test_pictures_in_folders(make, home):
    save_pictures("RGB")
    run = make(RECIPES["Pictures in folders"])
    assert run.loaders[0].dataset.classes == ["ant", "bee", "cat"]
    roots = [Path(loader.dataset.root) for loader in run.loaders]
    assert roots == [Path("pictures/train"), Path("pictures/eval")]
    for loader in run.loaders:
        assert inputs(loader).shape == (3, 1, 28, 28)
    assert run.saved["1.bias"].shape == (3,)


def test_colour(make, home):
    """With the two edits of the folders' diff that the text tells."""
    save_pictures("RGB")
    folders = RECIPES["Pictures in folders"].replace("transforms.Grayscale(), ", "")
    folders = folders.replace("Resize((28, 28))", "Resize((32, 32))")
    run = make(folders, RECIPES["Colour"])
    assert inputs(run.loaders[0]).shape == (3, 3, 32, 32)
    assert run.model[0].weight.grad.shape == (1024, 3 * 32 * 32)


def test_normalise(make):
    run = make(RECIPES["Normalise"])
    for loader in run.loaders:
        assert abs(inputs(loader).mean()) < 0.1
        assert abs(inputs(loader).std() - 1) < 0.1


def test_normalise_your_own_picture(home, monkeypatch):
    text = apply(RECIPES["Normalise your own picture"], inspect.getsource(own_picture))
    module = load(text.replace("__file__", repr(own_picture.__file__)), home)
    shown = []

    class Model(nn.Linear):
        def forward(self, inputs):
            shown.append(inputs)
            return super().forward(inputs)

    picture = Image.new("L", (300, 300), 255)
    ImageDraw.Draw(picture).line((150, 60, 150, 240), 0, 20)
    picture.save("one.png")
    monkeypatch.setattr(module, "load_model", lambda path: Model(784, 10))
    monkeypatch.setattr(sys, "argv", ["own_picture.py", "one.png"])
    module.main()
    assert shown[0].min().item() == pytest.approx(-0.1307 / 0.3081)
    assert shown[0].max().item() == pytest.approx((1 - 0.1307) / 0.3081)


def test_augment(make):
    """A training picture is drawn anew each time, another one is not."""
    train_dataset, eval_dataset = [
        loader.dataset for loader in make(RECIPES["Augment"]).loaders
    ]
    (one, target), (other, same_target) = train_dataset[0], train_dataset[0]
    assert target == same_target and not torch.equal(one, other)
    assert torch.equal(eval_dataset[0][0], eval_dataset[0][0])


def test_fashion_mnist(make, small_data):
    shutil.copytree(small_data / "MNIST", small_data / "FashionMNIST")
    for path in (small_data / "FashionMNIST" / "raw").glob("*-images-*"):
        path.write_bytes(path.read_bytes()[:16].ljust(path.stat().st_size, b"\0"))
    assert inputs(make(RECIPES["Fashion-MNIST"]).loaders[0]).sum() == 0


def test_no_reshape(make):
    shapes = set()

    class Model(nn.Linear):
        def forward(self, inputs):
            shapes.add((self.training, *inputs.shape[1:]))
            return super().forward(inputs.flatten(1))

    make(RECIPES["No reshape"], make_model=lambda: Model(784, 10))
    assert shapes == {(True, 1, 28, 28), (False, 1, 28, 28)}


def test_a_convolutional_net(make):
    run = make(RECIPES["No reshape"], RECIPES["A convolutional net"])
    assert run.model[0].weight.grad.shape == (16, 1, 5, 5)


def test_a_resnet(make):
    flags = ("--epochs", 1, "--batch-size", 320)
    run = make(RECIPES["No reshape"], RECIPES["A ResNet"], flags=flags)
    assert run.saved["fc.bias"].shape == (10,)


def test_a_validation_split_and_the_best_epoch(make):
    accuracies, biases = iter((30.0, 50.0, 40.0, 77.0)), []

    def evaluate(model, *_):
        biases.append(model[1].bias.tolist())
        return next(accuracies), 1.0

    flags = ("--epochs", 3, "--seed", 5)
    run = make(
        RECIPES["A validation split and the best epoch"], flags=flags, evaluate=evaluate
    )
    assert run.saved["1.bias"].tolist() == biases[1] == biases[3]
    assert run.lines[-1] == "Test Accuracy: 77.00 %"
    training, validation, test = [loader.dataset for loader in run.loaders]
    assert len(test) == 100
    assert sorted([*training.indices, *validation.indices]) == list(range(640))
    other = make(RECIPES["A validation split and the best epoch"])
    assert list(validation.indices) == list(other.loaders[1].dataset.indices)
    assert len(validation) == 64


def test_go_on_from_a_checkpoint(make):
    before = make(RECIPES["Go on from a checkpoint"], flags=("--epochs", 2)).saved
    flags = ("--epochs", 1, "--lr", 1e-30)
    after = make(RECIPES["Go on from a checkpoint"], flags=flags).saved
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_go_on_with_adam_or_momentum(make):
    diffs = (RECIPES["Go on with Adam or momentum"], ADAM)
    assert make(*diffs, flags=("--epochs", 2)).saved["epoch"] == 2
    run = make(*diffs, flags=("--epochs", 3))
    assert run.lines[1].startswith("Epoch [3/3], Step [1/10]")
    assert run.saved["epoch"] == 3
    assert run.saved["optimizer"]["state"][0]["step"] == 30


def test_lower_the_learning_rate_as_it_goes(make):
    """The rate is seen in the optimizer's state, which the diff before saves."""
    diffs = (
        RECIPES["Lower the learning rate as it goes"],
        RECIPES["Go on with Adam or momentum"],
    )
    saved = make(*diffs, flags=("--epochs", 7)).saved
    assert saved["optimizer"]["param_groups"][0]["lr"] == 0.003 / 4


def test_diff_that_does_not_fit():
    for text in (
        "-no such line\n",
        "-            outputs = model(inputs)\n",
        "-def mai\n",
    ):
        with pytest.raises(ValueError, match="not exactly once"):
            apply(text)


def is_shuffled(loader):
    """Tell whether each epoch has the same samples in another order."""
    one, other = (inputs(loader).sum(dim=(1, 2, 3)) for _ in range(2))
    return torch.equal(one.sort()[0], other.sort()[0]) and not torch.equal(one, other)


def test_unchanged(make):
    run = make()
    assert [is_shuffled(loader) for loader in run.loaders] == [True, False]
    assert [len(loader.dataset) for loader in run.loaders] == [640, 100]


TORCHVISION = """\
-    train_dataset = read_mnist(args.data_dir, train=True)
+    to_tensor = torchvision.transforms.ToTensor()
+    train_dataset = torchvision.datasets.MNIST(args.data_dir, transform=to_tensor)
"""
WORKER = """\
-    train_loader = DataLoader(train_dataset, batch_size=args.batch_size, shuffle=True)
+    train_loader = DataLoader(train_dataset, args.batch_size, True, num_workers=1)
"""


@pytest.mark.parametrize("diff", [TORCHVISION, WORKER], ids=["data set", "worker"])
def test_the_same_in_another_way(make, diff):
    assert without_times(make(diff).lines) == without_times(make().lines)


TARGETS = """\
-    mnist = torchvision.datasets.MNIST(data_dir, train, transform, download=True)
+    mnist = torchvision.datasets.MNIST(data_dir, train, {}, lambda digit: digit % 2)
"""


def test_a_transform_of_the_targets_is_not_ignored(make):
    diff = TARGETS.format("torchvision.transforms.ToTensor()")
    assert {target for _, target in make(diff).loaders[0].dataset} == {0, 1}


def test_a_transform_of_the_targets_alone_leaves_pictures(make):
    """As with torchvision's own data set: PyTorch says what is missing."""
    with pytest.raises(TypeError, match="batch must contain tensors"):
        make(TARGETS.format("transform"))


def test_evaluation_in_mid_epoch(make):
    """Dropout is on again after it."""
    middle = """\
         nn.Linear(28 * 28, 1024),  # no activation follows, as in the post
+        nn.Dropout(0.5),
...
             optimizer.step()  # SGD: parameter -= lr * gradient
+            evaluate(model, criterion, eval_loader, args.device)
"""
    run = make(middle)
    assert not torch.equal(*(run.model(torch.ones(9, 784)) for _ in range(2)))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment(make, small_data, name):
    shutil.copytree(small_data / "MNIST", small_data / "FashionMNIST")
    diffs, flags = EXPERIMENTS[name]
    assert make(*diffs, flags=("--epochs", 1, *flags.split())).saved
