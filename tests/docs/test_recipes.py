"""docs/recipes: files that parse, whose commands the verbs accept, and that name what is there."""

import shlex
import subprocess
import tomllib

import pytest
import yaml
from docs.blocks import ROOT

from tdfusion_jax import cli, main
from tdfusion_jax.cluster.choice import cluster_of
from tdfusion_jax.cluster.shards import Shard, parse_shard
from tdfusion_jax.commands.fuse_options import CLUSTERS
from tdfusion_jax.config.commandline import parse_config
from tdfusion_jax.train import checks

RECIPES = ROOT / "docs" / "recipes"


def options_of(words):
  assert words[0] == "tdfusion"
  return cli._parse(words[1:])[1]


def command_of(name):
  """The last line of a batch file, without what starts it."""
  words = shlex.split((RECIPES / name).read_text().rstrip().splitlines()[-1])
  return words[1:] if words[0] in ("exec", "srun") else words


def test_an_indexed_job_tells_its_pods_how_many_they_are():
  job = yaml.safe_load((RECIPES / "fuse_indexed_job.yaml").read_text())
  assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
  spec = job["spec"]
  assert spec["completionMode"] == "Indexed" and spec["parallelism"] <= spec["completions"]
  pod = spec["template"]["spec"]
  assert pod["restartPolicy"] == "Never"  # which backoffLimitPerIndex needs
  (container,) = pod["containers"]
  assert {mount["name"] for mount in container["volumeMounts"]} == {
    volume["name"] for volume in pod["volumes"]
  }
  environment = {entry["name"]: entry["value"] for entry in container["env"]}
  options = options_of(container["args"])
  assert options.skip_existing
  shards = [
    parse_shard(options.shard, environment | {"JOB_COMPLETION_INDEX": str(index)})
    for index in range(spec["completions"])
  ]
  assert shards == [Shard(index, 16) for index in range(16)]


def manifests():
  """What Kubernetes itself has a schema for: the job, and the pods of the Ray job."""
  job = yaml.safe_load((RECIPES / "fuse_indexed_job.yaml").read_text())
  cluster = yaml.safe_load((RECIPES / "fuse_ray_job.yaml").read_text())["spec"]["rayClusterSpec"]
  groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
  pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}}
  return [job, *(pod | {"spec": group["template"]["spec"]} for group in groups)]


def test_manifests_fit_the_schemas_of_kubernetes():
  """Strict: a field that Kubernetes does not know is an error, as is one of another type."""
  validator = pytest.importorskip("kubernetes_validate")
  for manifest in manifests():
    validator.validate(manifest, "1.33", strict=True)
  mistyped = manifests()[0]
  mistyped["spec"]["completionMod"] = "Indexed"
  with pytest.raises(validator.ValidationError, match="completionMod"):
    validator.validate(mistyped, "1.33", strict=True)


def test_a_ray_job_has_the_workers_that_its_command_asks_for():
  job = yaml.safe_load((RECIPES / "fuse_ray_job.yaml").read_text())
  assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
  options = options_of(shlex.split(job["spec"]["entrypoint"]))
  cluster = cluster_of(options, CLUSTERS, options.workers)
  spec = job["spec"]["rayClusterSpec"]
  assert spec["headGroupSpec"]["template"]["spec"]["containers"]
  (group,) = spec["workerGroupSpecs"]
  assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
  (worker,) = group["template"]["spec"]["containers"]
  assert cluster.workers == group["replicas"]
  assert cluster.resources == {"cpus": int(worker["resources"]["limits"]["cpu"])}


@pytest.mark.parametrize("name", sorted(path.name for path in RECIPES.glob("*.sbatch")))
def test_batch_files_are_bash_with_options_first(name):
  text = (RECIPES / name).read_text()
  assert text.startswith("#!/bin/bash\n")
  subprocess.run(["bash", "-n", str(RECIPES / name)], check=True)
  before, _, after = text.partition("\nset -euo pipefail\n")
  assert "#SBATCH" in before and "#SBATCH" not in after  # SLURM stops at the first command


def test_an_array_has_the_parts_that_its_command_names():
  text = (RECIPES / "fuse_array.sbatch").read_text()
  options = options_of(command_of("fuse_array.sbatch"))
  assert "#SBATCH --array=0-15\n" in text and options.skip_existing
  again = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "1", "SLURM_ARRAY_TASK_MIN": "7"}
  assert parse_shard(options.shard, again) == Shard(7, 16)


def test_a_training_on_two_nodes_uses_all_of_their_devices(monkeypatch):
  monkeypatch.chdir(ROOT)  # its config file is named from there
  words = command_of("train_two_nodes.sbatch")
  assert words[:2] == ["tdfusion", "train"]
  options = parse_config(main.parser(), words[2:])
  assert options.workdir and options.config.train.devices == "all"
  checks.check(options.config)
  text = (RECIPES / "train_two_nodes.sbatch").read_text()
  # One process a node, as `jax.distributed` expects, and a signal that training saves at.
  assert {"#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=1"} <= set(text.splitlines())
  assert "#SBATCH --signal=USR1@" in text and "\nsrun tdfusion train" in text


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_dockerfiles_copy_what_is_there_and_run_as_a_user(kind):
  lines = (RECIPES / f"Dockerfile.{kind}").read_text().replace("\\\n", " ").splitlines()
  steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
  known = {"FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "CMD"}
  assert steps[0][0] == "FROM" and {step for step, _ in steps} <= known
  assert ":" in steps[0][1]  # a version, not whatever is newest
  for step, rest in steps:
    if step == "COPY":
      assert all((ROOT / name).exists() for name in rest.split()[:-1]), rest
  extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
  (install,) = [rest for step, rest in steps if step == "RUN" and "pip install" in rest]
  assert set(install.partition("[")[2].partition("]")[0].split(",")) <= extras.keys()
  assert [step for step, _ in steps][-2:] == ["USER", "CMD"]
