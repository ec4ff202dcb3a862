"""Settings of runs that end in seconds, and what they leave behind."""

from tdfusion_jax.train.runfolder import read_metrics

TINY = {
  "data.task_size": (32, 32),
  "data.crop_size": (16, 16),
  "data.batch_size": 2,
  "data.train_options.count": 8,
  "data.val_options.count": 2,
  "meta.pairs": 4,
  "meta.steps": 3,
  "train.pretrain_steps": 2,
  "train.epochs": 2,
  "log.every": 1,
  "log.checkpoint_every": 2,
  "log.pictures": 2,
}


def rows(run):
  """Metric lines without what two runs may differ in: time."""
  return [
    {k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(run / "metrics.jsonl")
  ]
