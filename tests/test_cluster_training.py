import os
import signal
from pathlib import Path

import pytest
import torch.distributed as dist

from cluster import Cluster, ClusterError, Resources, train_together


def test_all_workers_are_one_group_and_a_lost_one_is_replaced(ray_cluster: Cluster, tmp_path: Path) -> None:
    def loop(rank: int) -> None:
        first = tmp_path / "lost"
        if rank == 1 and not first.exists():
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        seen = [os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")]
        (tmp_path / f"rank-{rank}").write_text(f"{dist.get_world_size()} {seen}")

    before = signal.getsignal(signal.SIGINT)
    train_together(loop, workers=2, resources=Resources(), retries=1, storage=tmp_path / "ray")
    told = [(tmp_path / f"rank-{rank}").read_text() for rank in range(2)]
    assert told == ["2 ['1', '']"] * 2, "a thread for a core, and no GPU for who has reserved none"
    assert signal.getsignal(signal.SIGINT) is before


def test_workers_for_which_there_is_no_room_are_given_up_when_patience_ends(
    ray_cluster: Cluster, tmp_path: Path
) -> None:
    with pytest.raises(ClusterError, match=r"For 2 s there was no room for 9 workers, each asks for Resources\(cpus=1"):
        train_together(print, workers=9, resources=Resources(), retries=0, storage=tmp_path, patience=2)


def test_a_worker_lost_before_the_loop_begins_is_replaced(ray_cluster: Cluster, tmp_path: Path) -> None:
    class DiesWhenFirstUnpickled:
        def __init__(self, folder: Path) -> None:
            self.folder = folder

        def __setstate__(self, state: dict[str, Path]) -> None:
            self.__dict__.update(state)
            try:
                (self.folder / "lost").touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

        def __call__(self, rank: int) -> None:
            (self.folder / f"rank-{rank}").write_text(str(dist.get_world_size()))

    loop = DiesWhenFirstUnpickled(tmp_path)
    resources = Resources(cpus=ray_cluster.cpus / 2)  # the two need all there are
    train_together(loop, workers=2, resources=resources, retries=1, storage=tmp_path / "ray")
    assert (tmp_path / "lost").exists()
    assert [(tmp_path / f"rank-{rank}").read_text() for rank in range(2)] == ["2", "2"]


def test_a_loop_that_raises_ends_in_a_cluster_error(ray_cluster: Cluster, tmp_path: Path) -> None:
    def loop(rank: int) -> None:
        raise ValueError("no such thing")

    with pytest.raises(ClusterError, match=r"the training on 2 workers failed: .*no such thing"):
        train_together(loop, workers=2, resources=Resources(), retries=0, storage=tmp_path / "ray")
