"""What several tests of runs need."""

import signal

import pytest
import tiny
from label_free import config

from tdfusion_jax.train.loop import train


@pytest.fixture(scope="module", autouse=True)
def quick():
  """Networks here are compiled for a few steps."""
  with pytest.MonkeyPatch.context() as patch:
    tiny.compile_quickly(patch)
    yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """A label-free run of ten steps."""
  run = tmp_path_factory.mktemp("runs") / "unbroken"
  train(config(), run)
  return run


@pytest.fixture
def interruptible():
  """Ctrl-C as at a terminal: what runs in a background shell inherits that it is ignored."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)
