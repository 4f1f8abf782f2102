"""EM of other libraries on a device, for bench_device.py: same rows, same start, n iterations.

gmmx (JAX; float32, full and diag) and torchgmm, the successor of pycave (torch through a Lightning
trainer; float32 and float64). What is not installed, or cannot do a case, is left out.
"""

import importlib.util
import logging

import numpy as np
import torch


def installed():
    """Return name -> peer, of those that can be imported."""
    found = {}
    if importlib.util.find_spec("gmmx") and importlib.util.find_spec("jax"):
        found["gmmx f32"] = gmmx
    if importlib.util.find_spec("torchgmm") and importlib.util.find_spec("pytorch_lightning"):
        found["torchgmm f32"] = torchgmm_of(np.float32)
        found["torchgmm f64"] = torchgmm_of(np.float64)
    return found


def gmmx(X, theta, kind, device, n_iter, clock, limit):
    """Return seconds per iteration and the bound at the last E-step; None if it cannot be done."""
    import jax
    from gmmx import EMFitter, GaussianMixtureModelJax

    on_cpu = torch.device(device).type == "cpu"
    n, (K, p) = len(X), theta.components.means.shape
    too_large = 4 * n * K * p > limit  # it keeps all steps from all means
    if kind not in ("full", "diag") or too_large or on_cpu != (jax.default_backend() == "cpu"):
        return None
    covariances = theta.components.covariance.public_arrays()["covariances_"]
    arrays = (theta.components.means, covariances, theta.weights)
    model = GaussianMixtureModelJax.from_squeezed(
        *(jax.numpy.asarray(array, np.float32) for array in arrays), covariance_type=kind
    )
    rows = jax.device_put(X.astype(np.float32))
    fitter = EMFitter(tol=-1.0, reg_covar=0.0, max_iter=n_iter)

    def run():
        start = clock()
        bound = float(fitter.fit(rows, model).log_likelihood)  # waits for the device
        return clock() - start, bound

    run()  # compiled
    spent, bound = run()
    return spent / n_iter, bound


def torchgmm_of(dtype):
    """Return the peer for rows of a precision."""

    def peer(X, theta, kind, device, n_iter, clock, limit):
        """Return seconds per iteration and the bound at the last E-step."""
        import pytorch_lightning as lightning
        from torchgmm.base.data import DataLoader, collate_tensor, dataset_from_tensors
        from torchgmm.bayes.core import cholesky_precision
        from torchgmm.bayes.gmm.lightning_module import GaussianMixtureLightningModule
        from torchgmm.bayes.gmm.model import GaussianMixtureModel, GaussianMixtureModelConfig

        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        on_cpu = torch.device(device).type == "cpu"
        rows = torch.as_tensor(X.astype(dtype), device=device)
        covariances = theta.components.covariance.public_arrays()["covariances_"]
        factors = cholesky_precision(torch.as_tensor(covariances), kind)
        K, p = theta.components.means.shape
        loader = DataLoader(
            dataset_from_tensors(rows), batch_size=len(X), collate_fn=collate_tensor
        )

        def run(n_epochs):
            model = GaussianMixtureModel(GaussianMixtureModelConfig(K, p, kind)).to(rows.dtype)
            model.component_probs.copy_(torch.as_tensor(theta.weights))
            model.means.copy_(torch.as_tensor(theta.components.means))
            model.precisions_cholesky.copy_(factors)
            module = GaussianMixtureLightningModule(model, 0.0, 0.0).to(rows.dtype)
            trainer = lightning.Trainer(
                max_epochs=n_epochs,
                accelerator="cpu" if on_cpu else "gpu",
                devices=1,
                precision=64 if dtype == np.float64 else 32,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            start = clock()
            trainer.fit(module, loader)
            return clock() - start, -float(trainer.callback_metrics["nll"])

        bound = run(n_iter)[1]  # compiled
        return (run(1 + n_iter)[0] - run(1)[0]) / n_iter, bound

    return peer
