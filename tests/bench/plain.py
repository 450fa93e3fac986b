"""The published way, written out plainly: dense features, one image at a time, members one after another, float32."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from label.pixel_classifiers import PixelClassifiers, published_widths

_PLACES = {"linear_1": 0, "norm_1": 2, "linear_2": 3, "norm_2": 5, "linear_3": 6}


def member(channels: int, classes: int) -> nn.Sequential:
    """One classifier with the publication's initial weights (arXiv 2112.03126, appendix)."""
    first, second = published_widths(classes)
    layers = nn.Sequential(
        nn.Linear(channels, first),
        nn.ReLU(),
        nn.BatchNorm1d(first),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.BatchNorm1d(second),
        nn.Linear(second, classes),
    )
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            nn.init.zeros_(layer.bias)
    return layers


def name_of(ours: str) -> str:
    """What a tensor of PixelClassifiers is called in a plain member."""
    module, _, leaf = ours.partition(".")
    return f"{_PLACES[module]}.{leaf}"


def members_of(classifiers: PixelClassifiers) -> list[nn.Sequential]:
    """The same members, each on its own."""
    state = classifiers.state_dict()
    members = []
    for number in range(classifiers.members):
        layers = member(classifiers.channels, classifiers.classes)
        own = {name_of(name): tensor[number] for name, tensor in state.items()}
        layers.load_state_dict({**layers.state_dict(), **own})
        members.append(layers.to(classifiers.linear_1.weight.device).eval())
    return members


def dense(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """All features of all pixels of one image, [pixels, channels]."""
    wide = [F.interpolate(m[None].float(), size, mode="bilinear", align_corners=False)[0] for m in maps]
    return torch.cat(wide).flatten(1).T


@torch.no_grad()
def label(members: Sequence[nn.Module], features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Labels and divergence of every pixel, and the mean divergence of the highest tenth."""
    votes, probabilities, entropies = [], *torch.zeros(2, device=features.device)
    for classifier in members:
        p = classifier(features).softmax(-1)
        votes.append(p.argmax(-1))
        probabilities = probabilities + p / len(members)
        entropies = entropies + torch.distributions.Categorical(probs=p).entropy() / len(members)
    divergence = torch.distributions.Categorical(probs=probabilities).entropy() - entropies
    highest = divergence.sort().values[-(len(divergence) // 10) :]
    return torch.stack(votes).mode(0).values, divergence, highest.mean()


def fit(
    classifier: nn.Sequential,
    features: Tensor,
    labels: Tensor,
    *,
    batch_size: int = 64,
    max_epochs: int = 100,
    patience: int = 50,
    seed: int = 0,
) -> Iterator[float]:
    """Train one member on dense features until its batch loss has not fallen for `patience` batches; yield losses."""
    optimizer = torch.optim.Adam(classifier.parameters(), 1e-3)
    order, lowest, waited = torch.Generator().manual_seed(seed), float("inf"), 0
    classifier.train()
    for epoch in range(max_epochs):
        for chosen in torch.randperm(len(labels), generator=order).split(batch_size):
            if len(chosen) < 2:
                continue  # BatchNorm needs two
            loss = F.cross_entropy(classifier(features[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()
            if epoch < 4:
                continue
            lowest, waited = (loss.item(), 0) if loss.item() < lowest else (lowest, waited + 1)
            if waited > patience:
                classifier.eval()
                return
    classifier.eval()
