"""Records of runs, made up: what the paper's tables and figures are drawn from."""

import json

from experiments.paper.study import Asked, Study


def run(strategy, fraction, seed, accuracy, *, seconds=10.0, warm=False):
    """A line of the sweep, with the fields that the tables read."""
    full = strategy == "full"
    size = 54000 if full else round(54000 * fraction)
    epochs = 101 if warm else 200
    return {
        "run": f"mnist-{strategy}-{fraction}-{seed}",
        "strategy": strategy, "fraction": fraction, "warm": warm, "seed": seed, "dataset": "mnist",
        "test_accuracy": accuracy, "train_seconds": seconds - 1, "selection_seconds": 1.0,
        "train_size": 54000, "subset_size": size, "config": {"epochs": 200},
        "epochs": epochs, "full_epochs": 200 if full else int(warm),
        "device": "a processor", "revision": "abc", "model": "lenet", "num_matched": [size],
        "curve": [[e, seconds * (e + 1) / epochs, accuracy - 5 * (e < epochs - 1)]
                  for e in range(9, epochs, 10)],
    }  # fmt: skip


def write(path, runs):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in runs))
    return path


def made_up(study: Study, folder, *, joules=None):
    """A record of every run of a study, in its file under `folder`."""
    asked = Asked(results=folder)
    records = []
    for i, job in enumerate(study.jobs(asked)):
        c = job.config
        full = c.strategy == "full"
        record = run(c.strategy, c.fraction, c.seed, 90 + (i * 7 % 50) / 10 + 5 * full,
                     seconds=100 if full else 5 + i % 9, warm=c.warm)  # fmt: skip
        record |= {"run": job.name, "config": dict(job.settings), "dataset": c.dataset}
        record |= {"model": c.model, "never_trained": 50.0, "energy_source": "unavailable: why"}
        record |= {"joules": joules}
        records.append(record)
    file = study.file(asked)
    known = file.read_text() if file.exists() else ""
    write(file, records)
    file.write_text(known + file.read_text())
    return records


def cells(text, strategy, fraction):
    """A row of a Markdown table by heading."""
    header, *lines = ([c.strip() for c in li.strip("|").split("|")] for li in text.splitlines())
    for found in lines:
        named = dict(zip(header, found, strict=False))
        if (named.get("strategy"), named.get("k/n")) == (strategy, fraction):
            assert len(found) == len(header)
            return named
    raise AssertionError(f"no row {strategy} {fraction} in\n{text}")
