"""Algorithm 1 from the first step to the last, with everything a run leaves behind."""

import contextlib
import json
import logging
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from tdfusion_jax import weightfiles
from tdfusion_jax.config import Config
from tdfusion_jax.data import Source, make_dataset, skipping
from tdfusion_jax.files import UsageError
from tdfusion_jax.fusers import Fuser, Weigher
from tdfusion_jax.images import pictures
from tdfusion_jax.meta import Params, TrainState
from tdfusion_jax.ops import compiling
from tdfusion_jax.progress import Progress
from tdfusion_jax.tasks import Task
from tdfusion_jax.train import build, curves, runfolder
from tdfusion_jax.train.checkpoints import Checkpoints
from tdfusion_jax.train.networks import Networks, notes_f, notes_g, with_names
from tdfusion_jax.train.runfolder import RunFolder
from tdfusion_jax.train.validate import validate

log = logging.getLogger(__name__)

_SHOWN = ("fusion_loss", "task_loss", "task_loss_outer")  # losses that the progress display shows


class DivergedError(UsageError, FloatingPointError):
  """A measurement of a step is not finite; the message names it."""


def train(
  config: Config,
  workdir: str | Path,
  task: Task | None = None,
  pairs: tuple[Source, Source] | None = None,
  *,
  fuser: Fuser | None = None,
  weigher: Weigher | None = None,
) -> TrainState:
  """Trains F, G and T, or goes on where an earlier run in `workdir` stopped.

  Leaves in `workdir`: `config.json`, `versions.json`, `metrics.jsonl` (one object a line),
  `tensorboard/`, `checkpoints/`, `pictures/` (contact sheets of validation pairs), `curves.png`,
  `weights/` (F, G and T as `.safetensors`) and, if pairs were skipped, `skipped.jsonl`. A resumed
  run equals the unbroken one bit for bit on CPU.

  Args:
    config: from a file in `configs/`.
    workdir: the run folder, new or of an earlier run with the same config.
    task: your own T in place of the one that `config.task` names.
    pairs: your own sources for training and validation in place of those that `config.data` names.
    fuser: your own network in the place of F. Named by `config.fusion.network` instead, as
      `package.module:factory`, the run folder can be used by name alone.
    weigher: your own in the place of G, or named by `config.loss.network`.

  Returns:
    The final state.

  Raises:
    ConfigError, DatasetError: contradicting config, unfitting data, or a `workdir` of another
      config.
    DivergedError: a loss or norm is not finite.
  """
  compiling.use_cache(config.train.compile_cache)
  experiment = build.experiment(config, task, pairs, fuser=fuser, weigher=weigher)
  shapes = jax.eval_shape(
    experiment.init
  )  # a wrong init.* ends here, before it can mark the folder
  folder = RunFolder(workdir, with_names(build.config_to_json(config), fuser, weigher))
  checkpoints = Checkpoints(folder.path / "checkpoints", keep=config.log.keep)
  state = checkpoints.restore(shapes) if checkpoints.steps() else None
  resumed = state is not None
  state = experiment.init() if state is None else state
  start, total = int(state.step), len(experiment.steps)
  if resumed:
    log.info("resuming %s at step %d of %d", folder.path, start, total)
  folder.open_metrics(start)
  skipped = folder.path / "skipped.jsonl"
  skipping.report_skipped(experiment.steps.source, skipped)

  def look(state: TrainState, done: int) -> bool:
    epoch = _validation_due(config, experiment, done)
    if epoch is None or folder.has_validation(done):
      return False
    _validate(config, experiment, folder, state, epoch)
    return True

  measured, since, kind = {}, (start, time.perf_counter()), ""
  try:
    with (
      Progress(total, "starting", start=start, end=True) as progress,
      _interrupts_between_steps() as asked,
    ):
      batches = make_dataset(
        experiment.steps,
        start_step=start,
        num_workers=config.data.workers,
        prefetch=config.data.prefetch,
      )
      if look(
        state, start
      ):  # before the first step, or where a run was stopped within a validation
        since = (start, time.perf_counter())
      for step, batch in enumerate(batches, start=start):
        kind, epoch, _ = experiment.steps.phase(step)
        run_step = experiment.g_step if kind == "g" else experiment.ft_step
        state, measured = run_step(state, build.to_device(batch))
        done = step + 1
        if done % config.log.every == 0 or done == total:
          values = _finite(jax.device_get(measured), done, kind)
          now = time.perf_counter()
          seconds, since = (now - since[1]) / (done - since[0]), (done, now)
          folder.write({"step": done, "phase": kind, "epoch": epoch, **values, "seconds": seconds})
          progress.update(done, label=_label(kind, epoch), text=_losses(values))
        else:
          progress.update(done)
        if look(state, done):
          since = (done, time.perf_counter())
        if done % config.log.checkpoint_every == 0:
          _finite(jax.device_get(measured), done, kind)  # a checkpoint is something to go back to
          checkpoints.save(state)
        if asked.is_set():
          raise KeyboardInterrupt
  except KeyboardInterrupt:
    if (
      not state.step.is_deleted()
    ):  # else a second Ctrl-C came within a step, which the last checkpoint outlives
      _finite(jax.device_get(measured), int(state.step), kind)
      log.warning(
        "interrupted; saving step %d, start the same command again to go on", int(state.step)
      )
      checkpoints.save(state)
    raise
  finally:
    folder.close()
    if told := skipping.summary(skipped, len(experiment.steps.source)):
      log.warning("%s", told)
  checkpoints.save(state)
  checkpoints.close()
  about = {"config": config.name, "step": int(state.step)}
  export_weights(config, experiment.networks, state.params, folder.path / "weights", about)
  curves.curves(folder.path / "curves.png", runfolder.read_metrics(folder.path / "metrics.jsonl"))
  log.info("done: %s", folder.path)
  return state


def _label(kind: str, epoch: int) -> str:
  names = {"pretrain": "pre-training", "g": f"epoch {epoch + 1} G", "ft": f"epoch {epoch + 1} F/T"}
  return names[kind] + ", step"


def _losses(values: dict[str, float]) -> str:
  return " ".join(f"{name} {values[name]:.4g}" for name in _SHOWN if name in values)


@contextlib.contextmanager
def _interrupts_between_steps() -> Iterator[threading.Event]:
  """Ctrl-C sets the event: a step gives its state away and must come to its end first. A second one does not wait."""
  asked = threading.Event()

  def ask(number, frame):
    del number, frame
    if asked.is_set():
      raise KeyboardInterrupt
    asked.set()
    log.warning("stopping after this step")

  mine = threading.current_thread() is threading.main_thread()
  if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
    yield asked
    return
  signal.signal(signal.SIGINT, ask)
  try:
    yield asked
  finally:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def export_weights(
  config: Config, used: Networks, params: Params, folder: Path, about: Mapping[str, Any]
) -> None:
  """Writes F, G and T, each as one `.safetensors` file that `init.*` and `--weights` accept.

  Args:
    config: of the run.
    used: networks in the places of F and G, which the files name.
    params: of F, G and T; one that is empty has no file.
    folder: where to write.
    about: the run and its step, for the files' metadata.
  """
  task = {"arch": config.task.kind, "kind": config.task.kind, "variant": config.task.variant}
  files = {
    "f": ({"params": params.f}, notes_f(config, used)),
    "g": ({"params": params.g}, notes_g(config, used)),
    "t": ({"params": params.t, "batch_stats": params.t_stats}, task),
  }
  for letter, (variables, what) in files.items():
    if variables["params"]:
      weightfiles.save_weights(folder / f"{letter}.safetensors", variables, {**what, **about})


def _validation_due(config: Config, experiment: build.Experiment, done: int) -> int | None:
  """The epoch to validate after `done` steps; 0 after pre-training."""
  every = config.log.validate_every
  if not every or done < config.train.pretrain_steps:
    return None
  if done == config.train.pretrain_steps:
    return 0
  kind, epoch, position = experiment.steps.phase(done - 1)
  ends = kind == "ft" and position == experiment.steps.ft_steps - 1
  return (
    epoch + 1 if ends and ((epoch + 1) % every == 0 or epoch + 1 == config.train.epochs) else None
  )


def _validate(
  config, experiment: build.Experiment, folder: RunFolder, state: TrainState, epoch: int
) -> None:
  measured, sheet = validate(
    experiment.method,
    state.params,
    experiment.val,
    task_size=experiment.steps.task_size,
    max_boxes=config.data.max_boxes,
    limit=config.log.validate_pairs,
    num_pictures=config.log.pictures,
  )
  if sheet is not None:
    pictures.save(folder.path / "pictures" / f"epoch_{epoch:03d}.png", sheet)
    folder.picture("validation", sheet, int(state.step))
  folder.write(
    {"step": int(state.step), "phase": "val", "epoch": epoch, **measured}
  )  # last: it says all is there
  log.info("epoch %d: %s", epoch, json.dumps({k: round(v, 4) for k, v in measured.items()}))


def _finite(measured: dict, step: int, kind: str) -> dict[str, float]:
  values = {name: float(value) for name, value in measured.items()}
  broken = [name for name, value in values.items() if not math.isfinite(value)]
  if broken:
    raise DivergedError(
      f"step {step} ({kind}): {', '.join(broken)} not finite. The last checkpoint is from before; "
      "lower the learning rates (optim.*.learning_rate, meta.eta_*) or look at the data."
    )
  return values
