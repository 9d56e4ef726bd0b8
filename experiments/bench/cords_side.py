"""CORDS's side of `experiments.bench.against_cords`: run by a Python that has cords, no JAX.

    python cords_side.py '{"work": "solve", "npz": IN, "out": OUT, ...}'

Importing its solvers sets `np.seterr(all="raise")` for the process: it must stay one of its own.
"""

import copy
import json
import logging
import sys
import time
import types

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from cords import selectionstrategies  # pyright: ignore
from torch_side import LeNet, normalised  # pyright: ignore[reportMissingImports]

# The folder of its strategies as a package without the __init__ that imports all of them, and with
# them apricot, pandas, scikit-learn and torchvision, which GRAD-MATCH does not need.
folder = types.ModuleType("cords.selectionstrategies.SL")
folder.__path__ = [f"{selectionstrategies.__path__[0]}/SL"]
sys.modules[folder.__name__] = folder
from cords.selectionstrategies.helpers import omp_solvers  # noqa: E402  # pyright: ignore
from cords.selectionstrategies.SL import gradmatchstrategy  # noqa: E402  # pyright: ignore


def solve(npz, out, budget, lam, eps, solver):
    """One matching problem: its atoms and target in, indices and weights out."""
    with np.load(npz) as file:
        atoms, target = (torch.from_numpy(file[k].astype(np.float32)) for k in ("atoms", "target"))
    start = time.perf_counter()
    if solver == "default":
        found = omp_solvers.OrthogonalMP_REG_Parallel_V1(
            atoms.T, target, nnz=budget, positive=True, lam=lam, tol=eps, device="cpu"
        ).numpy()
    else:
        found = omp_solvers.OrthogonalMP_REG(
            atoms.T.numpy(), target.numpy(), nnz=budget, positive=True, lam=0
        )
    seconds = time.perf_counter() - start
    rows = np.flatnonzero(found)
    np.savez(out, indices=rows, weights=np.asarray(found)[rows])
    return {"seconds": seconds, "cords_torch": torch.__version__}


def train(npz, out, budget, lam, eps, epochs, every, batch, lr, seed):
    """LeNet on CORDS's selections: parameters, images and the order of the batches are given."""
    with np.load(npz) as file:
        arrays = {k: file[k] for k in file.files}
    net = LeNet()
    net.load_state_dict(
        {k.removeprefix("net."): torch.from_numpy(v) for k, v in arrays.items() if "net." in k}
    )
    images, test = (
        normalised(torch.from_numpy(arrays[k]).permute(0, 3, 1, 2)) for k in ("train", "test")
    )
    labels = torch.from_numpy(arrays["labels"].astype(np.int64))
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, labels), batch_size=1000, shuffle=False
    )
    np.random.seed(seed)  # noqa: NPY002 - what CORDS draws from
    strategy = gradmatchstrategy.GradMatchStrategy(
        loader, loader, copy.deepcopy(net), torch.nn.CrossEntropyLoss(reduction="none"), lr,
        torch.device("cpu"), 10, True, "PerClassPerGradient", logging.getLogger("cords"),
        valid=False, v1=True, lam=lam, eps=eps,
    )  # fmt: skip
    sgd = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    selecting, training, selections = 0.0, 0.0, []
    rows, weights = np.arange(0), torch.ones(0)
    for epoch in range(epochs):
        if epoch % every == 0:
            start = time.perf_counter()
            chosen, gammas = strategy.select(budget, copy.deepcopy(net.state_dict()))
            order = np.argsort(np.asarray(chosen))
            rows = np.asarray(chosen)[order][:budget]
            weights = gammas[torch.from_numpy(order)][:budget]
            weights = weights / weights.mean()
            selecting += time.perf_counter() - start
            selections.append(rows)
        start = time.perf_counter()
        order = np.random.default_rng([seed, epoch]).permutation(len(rows))
        for i in range(0, len(order), batch):
            part = torch.from_numpy(order[i : i + batch])
            mine = torch.from_numpy(rows)[part]
            sgd.zero_grad()
            losses = torch.nn.functional.cross_entropy(
                net(images[mine]), labels[mine], reduction="none"
            )
            torch.mean(weights[part] * losses).backward()
            sgd.step()
        training += time.perf_counter() - start
    with torch.inference_mode():
        predicted = torch.cat([net(x) for x in test.split(1000)]).argmax(1).numpy()
    np.savez(out, **{f"selection{i}": x for i, x in enumerate(selections)})
    accuracy = 100 * float(np.mean(predicted == arrays["test_labels"]))
    return {"accuracy": accuracy, "selecting": selecting, "training": training}


if __name__ == "__main__":
    question = json.loads(sys.argv[1])
    torch.set_num_threads(question.pop("threads"))
    work = {"solve": solve, "train": train}[question.pop("work")]
    print(json.dumps(work(**question)))
