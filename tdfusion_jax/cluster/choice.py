"""Which machines do the work, as `--cluster` and the options beside it say."""

import argparse
import tomllib
from collections.abc import Sequence
from typing import Any, NamedTuple

from tdfusion_jax.files import UsageError

_OF_RAY = ("cpus", "gpus")
_EXECUTORS = ("slurm", "local", "debug")
_ABOUT = {
  "ray": "ray: on the workers of a Ray cluster, of one that is started on this machine if no "
  "ADDRESS is given and RAY_ADDRESS is not set",
  "slurm": "slurm: in jobs that submitit submits; slurm=local runs them on this machine",
}
OF_CLUSTER = "of --cluster (default: one for each node, or for each of its GPUs)"
"""Help of `--workers`."""


class Cluster(NamedTuple):
  """Machines that do the work."""

  kind: str
  """"ray" or "slurm"."""
  where: str = ""
  """The address of a Ray cluster, empty for the usual one; the executor of submitit."""
  workers: int | None = None
  """At a time; None: one for each node or GPU."""
  resources: dict[str, Any] = {}  # noqa: RUF012 - never changed
  """What each worker gets: of Ray "cpus" and "gpus", of SLURM parameters of submitit."""
  retries: int = 2
  """How often work is done again whose worker was lost."""


def add_cluster(parser: argparse.ArgumentParser, kinds: Sequence[str]) -> None:
  """`--cluster`, `--worker` and `--retries`.

  Args:
    parser: gets them.
    kinds: of clusters that the verb can use.
  """
  add = parser.add_argument
  usual = "|".join(f"{kind}[=ADDRESS]" if kind == "ray" else f"{kind}[=local]" for kind in kinds)
  add("--cluster", default="", metavar=usual, help="; ".join(_ABOUT[kind] for kind in kinds))
  given = (
    "cpus or gpus of ray"
    if kinds == ("ray",)
    else (
      "cpus or gpus of ray, a parameter of submitit such as timeout_min=600 or "
      "slurm_partition=gpu of slurm"
    )
  )
  add(
    "--worker",
    action="append",
    default=[],
    metavar="NAME=VALUE",
    help=f"what each worker of --cluster gets: {given}; may be repeated",
  )
  add(
    "--retries",
    type=int,
    default=2,
    metavar="N",
    help="how often work is done again whose worker was lost (default 2)",
  )


def cluster_of(
  options: argparse.Namespace, kinds: Sequence[str], workers: int | None
) -> Cluster | None:
  """What the options of `add_cluster` say; None without `--cluster`.

  Raises:
    UsageError: an option means nothing, or cannot be with the others.
  """
  if not options.cluster:
    if options.worker:
      raise UsageError("--worker is for --cluster.")
    return None
  kind, _, where = options.cluster.partition("=")
  if kind not in kinds:
    raise UsageError(f"--cluster {options.cluster}: {' or '.join(kinds)} is needed.")
  if workers is not None and workers < 1:
    raise UsageError(f"{workers} workers: at least 1.")
  if options.retries < 0:
    raise UsageError(f"--retries {options.retries}: at least 0.")
  if kind == "slurm" and (where or "slurm") not in _EXECUTORS:
    raise UsageError(f"--cluster {options.cluster}: slurm, or slurm=local.")
  resources = dict(_resource(text) for text in options.worker)
  strange = sorted(resources.keys() - set(_OF_RAY)) if kind == "ray" else []
  if strange:
    raise UsageError(f"--worker {strange[0]}: of ray there are {' and '.join(_OF_RAY)}.")
  return Cluster(kind, where, workers, resources, options.retries)


def _resource(text: str) -> tuple[str, Any]:
  name, equals, value = text.partition("=")
  if not name or not equals:
    raise UsageError(f"--worker {text}: NAME=VALUE is needed, such as cpus=4.")
  try:
    return name, tomllib.loads(f"value = {value}")["value"]
  except tomllib.TOMLDecodeError:
    return name, value
