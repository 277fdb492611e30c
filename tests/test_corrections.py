"""What the README says of PyTorch against the post, shown by PyTorch itself."""

import math
import sys

import pytest
import torch
import torchvision
from conftest import ROOT, run
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import ToTensor

import train_mnist


def some_inputs():
    return torch.rand(8, 784, generator=torch.Generator().manual_seed(0))


def test_a_sample_has_no_batch_and_a_batch_has_64_samples():
    dataset = torchvision.datasets.MNIST(ROOT / "datasets", transform=ToTensor())
    image, target = dataset[0]
    assert (image.shape, type(target)) == ((1, 28, 28), int)
    inputs, targets = next(iter(DataLoader(dataset, batch_size=64)))
    assert (inputs.shape, targets.shape) == ((64, 1, 28, 28), (64,))


def test_a_notebook_has_no_file():
    """As with everything that is typed, or handed over as text."""
    _, error = run(sys.executable, "-c", "print(__file__)", cwd=ROOT, status=1)
    assert "NameError: name '__file__' is not defined" in error


@pytest.mark.parametrize(
    "make", [torchvision.models.vgg11, torchvision.models.densenet121]
)
def test_vgg_and_densenet_need_32_by_32(make):
    with torch.device("meta"):  # shapes alone
        model = make(num_classes=10)
        assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
        with pytest.raises(RuntimeError, match="Output size is too small"):
            model(torch.rand(2, 3, 28, 28))


def test_softmax_is_in_the_criterion():
    """With another softmax, even a perfect answer has a loss far from 0."""
    outputs, targets = torch.eye(10) * 100, torch.arange(10)
    criterion = nn.CrossEntropyLoss()
    assert criterion(outputs, targets) < 1e-6
    least = math.log(math.e + 9) - 1
    assert criterion(outputs.softmax(dim=1), targets).item() == pytest.approx(least)


def test_backward_does_not_look_at_the_optimizers_list():
    first, second = model = train_mnist.make_model()
    optimizer = torch.optim.SGD(first.parameters(), lr=0.1)
    before = second.weight.clone()
    model(some_inputs()).sum().backward()
    optimizer.step()
    assert second.weight.grad.abs().sum() > 0
    assert torch.equal(second.weight, before)


def test_sgd_changes_a_parameter_by_lr_times_its_gradient():
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    (parameter * torch.tensor([3.0, -4.0])).sum().backward()
    optimizer.step()
    assert parameter.tolist() == pytest.approx([1 - 0.1 * 3, 2 + 0.1 * 4])
    with pytest.raises(TypeError):
        torch.optim.SGD([parameter], learning_rate=0.1)


def test_zero_grad_clears_the_gradients_and_nothing_else():
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    parameter.sum().backward()
    optimizer.step()
    state = optimizer.state[parameter]["momentum_buffer"].clone()
    optimizer.zero_grad()
    assert parameter.grad is None
    assert optimizer.state[parameter]["momentum_buffer"] == state == 1


def test_train_and_eval_have_nothing_to_do_with_autograd():
    model = train_mnist.make_model()
    for mode in (model.train, model.eval):
        assert mode()(some_inputs()).requires_grad
        with torch.no_grad():
            assert not mode()(some_inputs()).requires_grad


def test_train_and_eval_change_nothing_in_this_model():
    model = train_mnist.make_model()
    training = model.train()(some_inputs())
    assert torch.equal(training, model.eval()(some_inputs()))


def test_dropout_does_nothing_under_eval():
    dropout = nn.Dropout(0.5)
    assert not torch.equal(dropout(some_inputs()), some_inputs())
    assert torch.equal(dropout.eval()(some_inputs()), some_inputs())


def test_batchnorm_uses_what_it_gathered_under_eval():
    norm = nn.BatchNorm1d(784)
    norm(some_inputs())
    norm.eval()
    mean, variance = norm.running_mean, norm.running_var
    expected = (some_inputs() - mean) / (variance + norm.eps).sqrt()
    torch.testing.assert_close(norm(some_inputs()), expected)
    assert 0 < mean.mean() < 0.1  # it has moved a tenth of the way from 0 to 0.5


def test_it_trains_without_an_evaluation():
    torch.manual_seed(1)
    model, criterion = train_mnist.make_model(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(10):
        losses.append(criterion(model(some_inputs()), torch.arange(8)))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 2


def test_an_integer_tensor_is_divided():
    accuracy = 100 * torch.tensor(9039) / 10000
    assert f"{accuracy:.2f}" == "90.39"


def test_two_linear_layers_are_one_linear_map():
    first, second = model = train_mnist.make_model()
    weight = second.weight @ first.weight
    bias = second.weight @ first.bias + second.bias
    torch.testing.assert_close(model(some_inputs()), some_inputs() @ weight.T + bias)


def test_letters_of_emnist_begin_at_1():
    classes = torchvision.datasets.EMNIST.classes_split_dict["letters"]
    assert classes[1] == "a" and len(classes) == 27
