"""`--config=FILE --config.a.b=value`: what it sets, and what it says of mistakes."""

import pytest

from configs import CONFIGS
from tdfusion_jax import main
from tdfusion_jax.config import ConfigError
from tdfusion_jax.config.commandline import parse_config
from tdfusion_jax.train import checks


def parsed(*arguments, name="synthetic_seg.py"):
  given = [f"--config={CONFIGS / name}", "--workdir=run", *arguments]
  return parse_config(main.parser(), given).config


def test_a_field_of_each_kind():
  config = parsed(
    "--config.seed=7",
    "--config.loss.alpha",
    "1",
    "--config.data.name=2024",  # a text stays one
    "--config.data.task_size=(32, 64)",
    "--config.data.crop_size=none",
    "--config.data.flip=false",
    "--noconfig.train.remat",
    "--config.fused.stretch",
    "--config.data.train_options.count=3",
  )
  assert (config.seed, config.loss.alpha, config.data.name) == (7, 1, "2024")
  assert config.data.task_size == (32, 64) and config.data.crop_size is None
  assert (config.data.flip, config.train.remat, config.fused.stretch) == (False, False, True)
  assert config.data.train_options.count == 3
  checks.check(config)


def test_options_after_the_colon_come_first():
  config = parsed("--config.train.epochs=5", name="synthetic_seg.py:runlocal")
  assert config.train.epochs == 5 and config.meta.steps == 8  # of shared.SYNTHETIC_RUNLOCAL


@pytest.mark.parametrize(
  "field",
  [
    "data.train_options",
    "data.val_options",
    "task.options",
    "fusion.options",
    "loss.network_options",
    "meta.rule_options",
  ],
)
def test_arguments_of_a_factory_may_have_new_names(field):
  given = {"one": "3", "two": "1e-30", "three": "person", "four": "(64, 96)", "five": "true"}
  config = parsed(*(f"--config.{field}.{name}={text}" for name, text in given.items()))
  found = {name: config.to_dict()[field.split(".")[0]][field.split(".")[1]][name] for name in given}
  assert found == {"one": 3, "two": 1e-30, "three": "person", "four": (64, 96), "five": True}


@pytest.mark.parametrize(
  ("argument", "message"),
  [
    ("--config.loss.alhpa=1", r"^config.loss.alhpa: there is no such field. Is it alpha\?$"),
    ("--config.los.alpha=1", "^config.los.alpha: there is no such field.$"),
    ("--config.seed=x", "^config.seed=x: a whole number is needed.$"),
    ("--config.seed=1.5", "^config.seed=1.5: a whole number is needed.$"),
    ("--config.loss.alpha=much", "^config.loss.alpha=much: a number is needed.$"),
    ("--config.data.flip=maybe", "^config.data.flip=maybe: true or false is needed.$"),
    ("--config.data.task_size=wide", r"config.data.task_size=wide: such as '\(64, 96\)'"),
    (f"--config.loss.alpha=1{400 * '0'}", "^config.loss.alpha: int too large"),
    ("--config.data=1", "config.data holds fields: set one, as --config.data.NAME=1"),
    ("--config.task.options=1", "config.task.options holds fields"),
    ("--config.seed", "--config.seed: a value is needed"),
    ("--confg.seed=1", "unexpected argument '--confg.seed=1'"),
    ("more", "unexpected argument 'more'"),
  ],
)
def test_a_mistake_is_one_line_that_names_it(argument, message):
  with pytest.raises(ConfigError, match=message):
    parsed(argument)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("def get_config(", r"damaged\.py, line 1"),
    ("1 / 0", r"line 1: ZeroDivisionError"),
    ("x = 1", "get_config"),
    ("def get_config(options):\n  return 3", "returned no config but int"),
    ("a\0b", "cannot be used"),
  ],
)
def test_a_config_file_that_cannot_be_used_is_named(tmp_path, text, message):
  file = tmp_path / "damaged.py"
  file.write_text(text)
  with pytest.raises(ConfigError, match=message) as error:
    parse_config(main.parser(), [f"--config={file}", "--workdir=run"])
  assert str(file) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("seed", True, "config.seed=True: a whole number is needed"),
    ("seed", 2**40, "config.seed=1099511627776: a number of at most 4294967296"),
    ("loss.alpha", float("nan"), "config.loss.alpha=nan: a finite number"),
    ("loss.alpha", "1", "config.loss.alpha='1': a number is needed"),
    ("data.flip", 1, "config.data.flip=1: true or false is needed"),
    ("data.name", "a\0b", "config.data.name=.*without NUL"),
    ("data", 3, "config.data=3: it holds fields"),
    ("extra", 3, "config.extra: there is no such field"),
  ],
)
def test_a_value_of_another_kind_is_an_error_before_training(field, value, message):
  """As a config made in Python, or a run folder's config.json, may have it."""
  config = parsed()
  *above, name = field.split(".")
  place = config
  for part in above:
    place = place[part]
  with place.unlocked(), place.ignore_type():
    place[name] = value
  with pytest.raises(ConfigError, match=message):
    checks.check(config)


def test_a_field_that_is_missing_is_an_error():
  config = parsed()
  with config.unlocked():
    del config.log.keep
  with pytest.raises(ConfigError, match=r"config\.log\.keep is missing"):
    checks.check(config)
