"""A VAE trained by several processes: the same script, started by torchrun.

    python examples/vae_torchrun.py
    OMP_NUM_THREADS=1 torchrun --nproc-per-node=2 examples/vae_torchrun.py

Both print the same bound. `fit` sees the process group; `batch_size` stays the batch of all
together, and each process takes every second row of it. On machines with GPUs use the backend
"nccl" and give each process its own with torch.cuda.set_device(int(os.environ["LOCAL_RANK"])).
"""

import os

import numpy as np
from sklearn.datasets import load_digits
from torch import distributed

from skelbo import VAEEstimator


def main():
    if "RANK" in os.environ:
        distributed.init_process_group("gloo")
    X = load_digits().data
    X = X + np.random.default_rng(0).random(X.shape)
    model = VAEEstimator(8, max_iter=30, batch_size=256, early_stopping=False, random_state=0)
    model.fit(X)
    if not distributed.is_initialized():
        print(f"one process: {model.lower_bound_:.6f} nats per row")
    elif distributed.get_rank() == 0:
        n = distributed.get_world_size()
        print(f"{n} processes: {model.lower_bound_:.6f} nats per row")
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
