"""Algorithm 1 from the first step to the last, with everything a run leaves behind."""

import contextlib
import json
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from tdfusion_jax import stopping, weightfiles
from tdfusion_jax.batch import Views
from tdfusion_jax.config import Config
from tdfusion_jax.data import Source, census, make_dataset, skipping
from tdfusion_jax.files import UsageError
from tdfusion_jax.fusers import Fuser, Weigher
from tdfusion_jax.images import pictures
from tdfusion_jax.meta import TrainState
from tdfusion_jax.ops import compiling
from tdfusion_jax.progress import Progress
from tdfusion_jax.tasks import Task
from tdfusion_jax.train import (
  build,
  curves,
  data_checks,
  devices,
  hosts,
  pseudo,
  runfolder,
  scores,
  summary,
)
from tdfusion_jax.train.checkpoints import Checkpoints
from tdfusion_jax.train.exported import export_weights
from tdfusion_jax.train.networks import with_names
from tdfusion_jax.train.runfolder import FolderError, NoFolder, RunFolder
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
  `weights/` (F, G and T as `.safetensors`, of the newest validation or the end), `weights_best/`
  (the same, of the validation with the best score of T, or the lowest loss where it has none) and,
  if pairs were skipped, `skipped.jsonl`. A resumed run equals the unbroken one bit for bit on CPU.

  SIGINT (Ctrl-C), SIGTERM and SIGUSR1 end a step, save, and raise `stopping.Stopped`, which is a
  KeyboardInterrupt; a second one does not wait.

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
    CheckpointError: nothing can be restored, or the state cannot be written.
  """
  compiling.use_cache(config.train.compile_cache)
  log.info("%s: making data and networks ready", config.name)
  labelled = None if pairs or task else pseudo.labelled(config, workdir)
  experiment = build.experiment(config, task, pairs or labelled, fuser=fuser, weigher=weigher)
  seen = census.first_images(experiment.steps.source)
  if experiment.method.task is not None:  # labels matter
    seen += census.first_look(experiment.steps.source)
  for line in seen + data_checks.remarks(config):
    log.warning("data: %s", line)
  # A wrong init.* ends here, before it can mark the folder.
  shapes = jax.eval_shape(experiment.init)
  noted = with_names(build.config_to_json(config), fuser, weigher)
  folder = RunFolder(workdir, noted) if hosts.is_first() else NoFolder(workdir)
  if labelled is not None and hosts.is_first():
    pseudo.save(labelled, folder.path)
  run = _Run(config, experiment, folder)
  run.start(shapes)
  skipped = folder.path / "skipped.jsonl"
  if hosts.is_first():
    skipping.report_skipped(experiment.steps.source, skipped)
  try:
    run.train()
  except KeyboardInterrupt:
    run.save_reached("interrupted")
    raise
  except (DivergedError, FolderError, weightfiles.CheckpointError):
    # Nothing to save, or no way to: a state saved without its metric line would lose the line.
    raise
  except (UsageError, OSError):  # a file of the data set is gone, say
    run.save_reached("the run cannot go on")
    raise
  finally:
    folder.close()
    if left_out := skipping.summary(skipped, len(experiment.steps.source)):
      log.warning("%s", left_out)
  return run.finish()


class _Run:
  """A run on its way: where F, G and T stand, and what is due after a step."""

  def __init__(self, config: Config, experiment: build.Experiment, folder: RunFolder | NoFolder):
    self._config, self._experiment, self._folder = config, experiment, folder
    self._mesh = experiment.mesh
    self._total = len(experiment.steps)
    self._measured: dict[str, jax.Array] = {}  # by the newest step, still on the device
    self._kind = ""  # of the newest step: "pretrain", "g" or "ft"
    self._compiled: set[str] = set()  # steps that this process has taken before
    self.checkpoints = Checkpoints(folder.path / "checkpoints", keep=config.log.keep)
    self.state: TrainState

  def start(self, shapes: TrainState) -> None:
    """From the newest checkpoint, or from the first step; `shapes` as of a fresh state."""
    restored = None
    if hosts.is_first():
      self.checkpoints.tidy()
      restored = self.checkpoints.restore(shapes) if self.checkpoints.steps() else None
    fresh = self._experiment.init() if restored is None else restored
    self.state = devices.place_state(hosts.from_first(fresh), self._mesh)
    step = int(self.state.step)
    if restored is not None:
      log.info("resuming %s at step %d of %d", self._folder.path, step, self._total)
    self._folder.open_metrics(step)

  @property
  def own_state(self) -> TrainState:
    """`state` on one device of this process, as it is saved and validated."""
    return devices.own_copy(self.state, self._mesh)

  def save(self) -> None:
    """Saves the state as it is, in the process that keeps the run folder."""
    if hosts.is_first():
      self.checkpoints.save(self.own_state)

  def train(self) -> None:
    """All steps that are left; `stopping.Stopped` between two of them if a signal asks for it."""
    start = int(self.state.step)
    data = self._config.data
    with (
      Progress(self._total, "starting", start=start, end=True, shown=hosts.is_first()) as progress,
      stopping.between_steps(lambda: log.warning("stopping after this step")) as request,
    ):
      batches = make_dataset(
        self._experiment.steps,
        start_step=start,
        num_workers=data.workers,
        prefetch=data.prefetch,
      )
      # Before the first step, or where a run was stopped within a validation.
      self._validate_if_due(start, progress)
      self._time_from(start)
      for step, batch in enumerate(batches, start=start):
        self._take_step(step, batch, progress)
        self._report(step, progress)
        self._validate_if_due(step + 1, progress)
        if (step + 1) % self._config.log.checkpoint_every == 0:
          self._save()
        self._stop_if_asked(request)

  def _stop_if_asked(self, request: stopping.Request) -> None:
    """Ends the run if a signal has come, to whichever process: all end after the same step."""
    if not hosts.several():
      request.raise_if_asked()
    elif number := hosts.agreed(request.number or 0):
      raise hosts.StoppedTogether(number)

  def finish(self) -> TrainState:
    """The final state, saved, with its weights and curves, and a summary of the run."""
    self.save()
    self.checkpoints.close()
    state = self.own_state
    if not hosts.is_first():
      return state
    path = self._folder.path
    about = {"config": self._config.name, "step": int(state.step)}
    used = self._experiment.networks
    export_weights(self._config, used, state.judged, path / "weights", about)
    curves.curves(path / "curves.png", runfolder.read_metrics(path / "metrics.jsonl"))
    log.info("done: %s", path)
    for line in summary.lines(self._folder.validations, path):
      log.info("%s", line)
    return state

  def save_reached(self, why: str) -> None:
    """Saves what a run that does not come to its end has reached."""
    if self.state.step.is_deleted():
      return  # a second signal came within a step, which the last checkpoint outlives
    if not hosts.is_first():
      return
    step = int(self.state.step)
    self._finite(step)
    log.warning("%s; saving step %d, start the same command again to go on", why, step)
    self.save()
    self.checkpoints.close()

  def _take_step(self, step: int, batch: dict[str, Views], progress: Progress) -> None:
    self._kind, _, _ = self._experiment.steps.phase(step)
    of_g = self._kind == "g"
    run_step = self._experiment.g_step if of_g else self._experiment.ft_step
    placed = devices.place_batch(batch, self._mesh)
    name = "G-step" if of_g else "F/T-step"
    with contextlib.ExitStack() as stack:
      if name not in self._compiled:
        self._compiled.add(name)
        stack.enter_context(progress.waiting(f"compiling the {name}", items=1))
      self.state, self._measured = hosts.surely(lambda: run_step(self.state, placed))

  def _report(self, step: int, progress: Progress) -> None:
    """A metric line now and then, and where the run is after `step`."""
    done = step + 1
    if done % self._config.log.every and done != self._total:
      progress.update(done)
      return
    values = self._finite(done)
    since_step, since = self._since
    seconds = (time.perf_counter() - since) / (done - since_step)
    kind, epoch, _ = self._experiment.steps.phase(step)
    row = {"step": done, "phase": kind, "epoch": epoch, **values, "seconds": seconds}
    self._folder.write(row)
    progress.update(done, label=_label(kind, epoch), text=self._told(values))
    self._time_from(done)

  def _told(self, values: dict[str, float]) -> str:
    """The newest losses, and the score of the newest and the best validation."""
    losses = " ".join(f"{name} {values[name]:.4g}" for name in _SHOWN if name in values)
    score = scores.text(self._folder.validations)
    return f"{losses}; {score}" if score else losses

  def _time_from(self, done: int) -> None:
    """Seconds per step are measured from here: they hold no validation."""
    self._since = (done, time.perf_counter())

  def _save(self) -> None:
    self._finite(int(self.state.step))  # a checkpoint is something to go back to
    self.save()

  def _finite(self, done: int) -> dict[str, float]:
    """What the newest step measured; DivergedError if a number is not finite."""
    values = {name: float(value) for name, value in jax.device_get(self._measured).items()}
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
      raise DivergedError(
        f"step {done} ({self._kind}): {', '.join(broken)} not finite. The last checkpoint is from "
        "before; lower the learning rates (optim.*.learning_rate, meta.eta_*) or check the data."
      )
    return values

  def _validate_if_due(self, done: int, progress: Progress) -> None:
    epoch = _epoch_to_validate(self._config, self._experiment, done)
    if epoch is None or hosts.agreed(self._folder.has_validation(done)):
      return
    # All processes do it: those that went ahead would have to wait in the next step.
    with progress.waiting("validating"):
      measured, sheet = _validate(self._config, self._experiment, self.own_state)
    if not hosts.is_first():
      return
    if sheet is not None:
      pictures.save(self._folder.path / "pictures" / f"epoch_{epoch:03d}.png", sheet)
      self._folder.picture("validation", sheet, done)
    self._export(done, measured)
    # Last: a resumed run reads this line as: the whole validation is there.
    self._folder.write({"step": done, "phase": "val", "epoch": epoch, **measured})
    log.info("epoch %d: %s", epoch, json.dumps({k: round(v, 4) for k, v in measured.items()}))
    self._time_from(done)

  def _export(self, done: int, measured: Mapping[str, float]) -> None:
    """The weights as they are, and as the best ones so far if they are."""
    about = {"config": self._config.name, "step": done}
    used, params = self._experiment.networks, self.own_state.judged
    export_weights(self._config, used, params, self._folder.path / "weights", about)
    if name := scores.best_by(measured, self._folder.validations):
      about |= {"score": name, "value": measured[name]}
      export_weights(self._config, used, params, self._folder.path / "weights_best", about)


def _label(kind: str, epoch: int) -> str:
  names = {"pretrain": "pre-training", "g": f"epoch {epoch + 1} G", "ft": f"epoch {epoch + 1} F/T"}
  return names[kind] + ", step"


def _epoch_to_validate(config: Config, experiment: build.Experiment, done: int) -> int | None:
  """The epoch whose validation is due after `done` steps, 0 for pre-training; None if none is."""
  every, epochs = config.log.validate_every, config.train.epochs
  if not every or done < config.train.pretrain_steps:
    return None
  if done == config.train.pretrain_steps:
    return 0
  kind, epoch, position = experiment.steps.phase(done - 1)
  if kind != "ft" or position != experiment.steps.ft_steps - 1:
    return None
  finished = epoch + 1
  return finished if finished % every == 0 or finished == epochs else None


def _validate(config: Config, experiment: build.Experiment, state: TrainState) -> tuple[dict, Any]:
  return validate(
    experiment.method,
    state.judged,
    experiment.val,
    task_size=experiment.steps.task_size,
    max_boxes=config.data.max_boxes,
    limit=config.log.validate_pairs,
    num_pictures=config.log.pictures,
    view=config.data.view,
    least_score=experiment.drawn,
  )
