"""Several processes that train one network: each has its part of every batch, and all take the same step.

The process group is the caller's; without one there is a single worker, and nothing here communicates.
"""

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from deeplab.errors import NetworkError


def workers() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def summed(value: Tensor) -> Tensor:
    """The sum over all workers, for counting; no gradient passes."""
    if workers() > 1:
        value = value.detach().clone()
        dist.all_reduce(value)
    return value


def sum_gradients(model: nn.Module) -> None:
    """Every parameter's gradient becomes its sum over all workers; one without keeps none, as in an unused stage.

    One message after the backward pass: it does not overlap with it.
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if workers() == 1 or not gradients:
        return
    together = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(together)
    for gradient, total in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(total.view_as(gradient))


class _AllReduce(torch.autograd.Function):
    """The sum over all workers; a worker's gradient is the sum of all workers' as well."""

    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        total = value.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return _AllReduce.forward(ctx, *gradients)


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch statistics of all workers' images together; the workers' batches must be of one size.

    PyTorch's own SyncBatchNorm is for GPUs alone.
    """

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if not self.training:
            return super().forward(input)
        shape = (1, -1, 1, 1)
        mean = self._over_workers(input.mean((0, 2, 3)))
        centred = input - mean.view(shape)
        variance = self._over_workers(centred.square().mean((0, 2, 3)))
        self._remember(mean.detach(), variance.detach(), workers() * input.numel() // input.shape[1])
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale.view(shape) + self.bias.view(shape)

    def _over_workers(self, value: Tensor) -> Tensor:
        total = _AllReduce.apply(value)
        assert isinstance(total, Tensor)
        return total / workers()

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum)


def synchronise_batch_norm(module: nn.Module) -> None:
    """Put SyncedBatchNorm, with the same weights, in place of every batch norm below a module.

    Raises NetworkError for a batch norm of another kind, as some of timm's encoders have.
    """
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            setattr(module, name, _synced(child))
        elif isinstance(child, nn.modules.batchnorm._BatchNorm):
            raise NetworkError(
                f"{type(child).__name__} cannot be kept alike on several workers; train with one, or with an encoder "
                "whose batch norm is PyTorch's, such as resnet101"
            )
        else:
            synchronise_batch_norm(child)


def _synced(norm: nn.BatchNorm2d) -> SyncedBatchNorm:
    synced = SyncedBatchNorm(norm.num_features, norm.eps, norm.momentum)
    synced.weight, synced.bias = norm.weight, norm.bias
    synced.running_mean, synced.running_var = norm.running_mean, norm.running_var
    synced.num_batches_tracked = norm.num_batches_tracked
    return synced.train(norm.training)
