import pytest
import torch
from torch import nn

from label.pixel_classifiers import PixelClassifiers, published_widths


def random_classifiers(members: int = 3, channels: int = 20, classes: int = 6) -> PixelClassifiers:
    """Every weight and statistic away from where it starts."""
    classifiers = PixelClassifiers(members, channels, classes)
    generator = torch.Generator().manual_seed(0)
    for tensor in classifiers.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.5 + 0.1)
    return classifiers


def plain_member(classifiers: PixelClassifiers, member: int) -> nn.Sequential:
    """The same member as the layers that the publication names."""
    first, second = published_widths(classifiers.classes)
    plain = nn.Sequential(
        nn.Linear(classifiers.channels, first),
        nn.ReLU(),
        nn.BatchNorm1d(first),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.BatchNorm1d(second),
        nn.Linear(second, classifiers.classes),
    )
    places = {"linear_1": 0, "norm_1": 2, "linear_2": 3, "norm_2": 5, "linear_3": 6}
    state = plain.state_dict()
    for name, tensor in classifiers.state_dict().items():
        module, _, leaf = name.partition(".")
        state[f"{places[module]}.{leaf}"] = tensor[member]
    plain.load_state_dict(state)
    return plain


def test_a_batched_training_step_equals_each_members_own():
    classifiers = random_classifiers().train()
    plain = [plain_member(classifiers, member).train() for member in range(3)]
    features = torch.randn(3, 16, classifiers.channels)
    scores = classifiers(features)
    scores.square().sum().backward()
    for member in range(3):
        expected = plain[member](features[member])
        expected.square().sum().backward()
        torch.testing.assert_close(scores[member], expected, atol=1e-3, rtol=1e-3)
        weight = classifiers.linear_1.weight.grad
        assert weight is not None
        torch.testing.assert_close(weight[member], plain[member][0].weight.grad, atol=1e-2, rtol=1e-2)
        torch.testing.assert_close(classifiers.norm_1.running_var[member], plain[member][2].running_var)


@pytest.mark.parametrize(("classes", "widths"), [(29, (128, 32)), (30, (256, 128))])
def test_hidden_widths_are_the_published_ones(classes, widths):
    classifiers = PixelClassifiers(2, 10, classes)
    assert (classifiers.linear_2.weight.shape[2], classifiers.linear_3.weight.shape[2]) == widths
