"""SwAV's features, which arXiv 2112.03126 compares with (section 4, appendix), on torchvision's own ResNet."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from label.backbone import Backbone, Size, chosen_layers, filled, stored_tensors_of
from label.feature_records import sha256_of

_RESNET_50 = (3, 4, 6, 3)


class SwavFeatures(Backbone):
    """SwAV's ResNet-50 (arXiv 2006.09882): the inputs of every second block of each layer, 6720 channels.

    `wide=True` is SwAVw2, twice as wide, 13440 channels.
    """

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        wide: bool = False,
        layers: Sequence[int] | None = None,
        image_size: Size = (256, 256),
    ) -> "SwavFeatures":
        """Open the published checkpoint, {"state_dict": {"module.conv1.weight": ...}}.

        Its projection head and prototypes are left out. `layers` are places in the list of its eight maps, all unless
        given. Raises InterpreterError in one sentence.
        """
        path, name = Path(path), "SwAVw2" if wide else "SwAV"
        tensors = {key.removeprefix("module."): t for key, t in stored_tensors_of(path, "state_dict", name).items()}
        tensors = {key: t for key, t in tensors.items() if not key.startswith(("projection_head.", "prototypes."))}
        network = filled(_resnet_50(2 if wide else 1), tensors, path, name)
        channels = [_channels_into(block) for layer in _layers(network) for block in layer[::2]]
        wanted = chosen_layers(layers, len(channels), range(len(channels)), name)
        identity = {"kind": "swav_w2" if wide else "swav", "sha256": sha256_of(path), "layers": list(wanted)}
        return cls(
            network,
            partial(_every_second_input, wanted),
            identity,
            channels=sum(channels[layer] for layer in wanted),
            image_size=image_size,
            weights=path,
        )


def _every_second_input(wanted: Sequence[int], network: nn.Module, images: Tensor) -> list[Tensor]:
    """The wanted ones of them; nothing is computed after the last."""
    assert isinstance(network, ResNet)
    x, maps = network.maxpool(network.relu(network.bn1(network.conv1(images)))), list[Tensor]()
    for layer in _layers(network):
        for number, block in enumerate(layer):
            if number % 2 == 0:
                maps.append(x)
            if len(maps) > max(wanted):
                return [maps[place] for place in wanted]
            x = block(x)
    raise AssertionError("the wanted ones are among the maps")


def _channels_into(block: nn.Module) -> int:
    assert isinstance(block, Bottleneck)
    return block.conv1.in_channels


def _layers(network: ResNet) -> list[nn.Sequential]:
    return [network.layer1, network.layer2, network.layer3, network.layer4]


def _resnet_50(width: int) -> ResNet:
    """Torchvision's, without weights; `width` times as many channels everywhere, which its own options cannot say."""
    with torch.device("meta"):
        network = ResNet(Bottleneck, list(_RESNET_50))
        network.inplanes = 64 * width
        network.conv1, network.bn1 = nn.Conv2d(3, 64 * width, 7, 2, 3, bias=False), nn.BatchNorm2d(64 * width)
        for number, blocks in enumerate(_RESNET_50):
            layer = network._make_layer(Bottleneck, 64 * width * 2**number, blocks, stride=1 if number == 0 else 2)
            setattr(network, f"layer{number + 1}", layer)
        network.fc = nn.Identity()  # type: ignore[assignment]
    return network
