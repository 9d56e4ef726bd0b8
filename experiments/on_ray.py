"""The runs of a sweep on a Ray cluster: a task a run, whose record comes back to this process.

A node that is lost takes its tasks with it; Ray starts them on another, where a run goes on from
its last checkpoint if the nodes share the folder of the runs, and from the start otherwise.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import experiments
import gradmatch_jax
from experiments.records import revision
from experiments.runs import Ended, here, run_name
from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.values import NOT_NEGATIVE, Range
from gradmatch_jax.settings import checked
from gradmatch_jax.sweep import Job

# A run whose node is lost this often may be what kills it.
_TRIES = 3


@dataclass(frozen=True)
class Ray:
    """Where the cluster is, and what a run gets of it."""

    address: str | None = None
    """Of a running cluster, host:port or auto; None starts one on this machine. Every node needs
    the packages, and the data at the same path."""
    run_cores: Annotated[int, Range(1)] = 1
    """Cores a run."""
    run_gpus: Annotated[float, NOT_NEGATIVE] = 0.0
    """GPUs a run; 0.5 puts two runs on each."""

    def __call__(self, jobs: list[Job], until: float) -> Iterator[Ended]:
        """Do runs, as many at once as the cluster has room for.

        Yields:
            Each that ended, as it ends, with its record; those that the clock stopped are not among
            them.

        Raises:
            UserError: Ray is not installed, or there is no cluster at the address; a run that
                cannot be; at the end, runs whose nodes were lost again and again.
        """
        checked(self)
        ray = _connected(self.address)
        task = ray.remote(
            num_cpus=self.run_cores, num_gpus=self.run_gpus, max_retries=_TRIES,
            runtime_env={"env_vars": {"NPROC": str(self.run_cores)}},  # XLA's threads
        )(_records)  # fmt: skip
        waiting = {task.remote(_anywhere(job), until): job for job in jobs}
        lost = []
        while waiting:
            (ready, *_), _ = ray.wait(list(waiting))
            job = waiting.pop(ready)
            try:
                found = ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayError:
                lost.append(run_name(job))
                continue
            for record in found:
                yield job, record | {"revision": revision()}
        if lost:
            raise UserError(
                f"{', '.join(lost)}: lost with their nodes, {_TRIES + 1} times each; the same "
                "command tries them again"
            )


def _connected(address: str | None) -> Any:
    """Ray, in the cluster at the address."""
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("Ray is not installed; pip install 'gradmatch-jax[ray]'") from error
    if not ray.is_initialized():
        packages = {"py_modules": [gradmatch_jax, experiments]}
        try:
            ray.init(address, runtime_env=packages, include_dashboard=False, log_to_driver=False)
        except ConnectionError as error:
            raise UserError(f"no Ray cluster at {address}; start one: ray start --head") from error
    return ray


def _anywhere(job: Job) -> Job:
    """The same run, its paths those of no working folder."""
    folder = job.config.data_dir
    config = dataclasses.replace(job.config, data_dir=folder and folder.expanduser().resolve())
    return job._replace(config=config, folder=job.folder.resolve())


def _records(job: Job, until: float) -> list[dict[str, Any]]:
    """What a task does: one run; its record, or none where the clock or another worker has it."""
    return [record for _, record in here([job], until)]
