"""One run on several GPUs or machines: d3rlpy's own DDP, with a buffer that imagines.

    python examples/several_gpus.py [--quick]
    torchrun --nproc_per_node=2 examples/several_gpus.py

Each process draws its own batches, and their gradients are averaged. One model is fitted
and shared by a file; each process imagines from it with generators of its own.
"""

import os
import sys
from pathlib import Path

import d3rlpy_mbo as mbo  # isort: split

import d3rlpy
import torch
from d3rlpy.logging import FileAdapterFactory, NoopAdapterFactory

import pendulum
from d3rlpy_mbo_mopo import MOPOConfig

# What torchrun tells each process; without it there is one.
ALONE = {
    "RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "0",
}


def fitted(file: Path, dataset: d3rlpy.dataset.MDPDataset, quick: bool) -> None:
    """Fits a model and saves it, in one process."""
    d3rlpy.seed(0)
    mopo = MOPOConfig(
        dynamics=pendulum.model(quick), rollout_batch_size=100 if quick else 5_000
    ).create()
    mopo.fit(dataset)
    mopo.save(file)


def main(quick: bool = False, file: Path = Path("pendulum.mbo")) -> d3rlpy.algos.SAC:
    """Trains SAC in as many processes as torchrun started."""
    for name, value in ALONE.items():
        os.environ.setdefault(name, value)
    gpu = torch.cuda.is_available()
    rank = d3rlpy.distributed.init_process_group("nccl" if gpu else "gloo")
    device = f"cuda:{os.environ['LOCAL_RANK']}" if gpu else "cpu:0"
    dataset = pendulum.dataset(10 if quick else 200)
    if rank == 0:
        fitted(file, dataset, quick)
    torch.distributed.barrier()  # the others wait for it
    mopo = mbo.load_imagination(file, device)

    d3rlpy.seed(1 + rank)  # batches and rollouts of its own; the weights are rank 0's
    sac = d3rlpy.algos.SACConfig().create(device, enable_ddp=True)
    buffer = mbo.ImaginedReplayBuffer(dataset, mopo, learner=sac)
    sac.fit(
        buffer,  # was: dataset
        n_steps=20 if quick else 20_000,
        n_steps_per_epoch=10 if quick else 2_000,
        evaluators=mbo.imagination_evaluators(buffer) if rank == 0 else {},
        logger_adapter=FileAdapterFactory() if rank == 0 else NoopAdapterFactory(),
        show_progress=rank == 0,
    )
    d3rlpy.distributed.destroy_process_group()
    return sac


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
