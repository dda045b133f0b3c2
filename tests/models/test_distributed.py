"""Two processes with different first batches initialize actnorm equally."""

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from tests.conftest import tiny_glow


def first_step(rank: int, folder: str) -> None:
    """Run one forward pass in training mode on this process's batch and save the weights."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.manual_seed(0)
    glow = tiny_glow().train()
    x = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(rank)) / (1 + rank)
    with torch.no_grad(), glow.fresh_noise(torch.Generator().manual_seed(rank)):
        glow(x)
    torch.save(glow.state_dict(), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_all_processes_start_with_what_the_first_one_found(tmp_path: Path) -> None:
    multiprocessing.spawn(first_step, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    torch.manual_seed(0)
    alone = tiny_glow().train()
    with torch.no_grad(), alone.fresh_noise(torch.Generator().manual_seed(0)):
        alone(torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0)))
    assert all(torch.equal(first[name], tensor) for name, tensor in alone.state_dict().items())
