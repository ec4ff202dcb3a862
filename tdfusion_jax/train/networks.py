"""Which networks a config trains in the places of F and G, and what its files note about them."""

from typing import Any, NamedTuple

from tdfusion_jax import fusers
from tdfusion_jax.config import Config, ConfigError
from tdfusion_jax.files import is_plugin
from tdfusion_jax.ops.strips import Tiling
from tdfusion_jax.train.requiring import one_of, require

VARIANTS = {
  # Looked up when it is called: tests put a small network in its place.
  "paper": lambda tiling: fusers.fusion_network(tiling),
  "fast": lambda _: fusers.fast_network(),
}
"""Our fusion networks by `fusion.variant`."""

_WHOLE = 1 << 60  # bytes of a strip: more than any image has


class Networks(NamedTuple):
  """What is trained in the places of F and G."""

  fuser: fusers.Fuser
  weigher: fusers.Weigher


def networks(
  config: Config, fuser: fusers.Fuser | None = None, weigher: fusers.Weigher | None = None
) -> Networks:
  """The networks that `config` names, or those that are given in their place.

  Args:
    config: `fusion.network` and `loss.network` with their options; empty for F by `fusion.variant`
      and G of the paper.
    fuser: a network of your own in place of `fusion.network`.
    weigher: likewise of `loss.network`.

  Raises:
    ConfigError: an unknown variant; named and given, options without a network, or a network that
      `loss.none` would not use.
    UsageError: a factory that cannot be found or called.
  """
  loss = config.loss
  if loss.none and (config.fusion.network or fuser):
    raise ConfigError(
      "config.loss.none averages the images by G's network, and no other F is trained: set "
      "loss.network in place of fusion.network."
    )
  fuser = _own(fusers.Fuser, "fusion.network", "options", config.fusion, fuser)
  _check_variant(config, fuser)
  weigher = _own(fusers.Weigher, "loss.network", "network_options", loss, weigher)
  tiling = Tiling(remat=config.train.remat)
  if config.train.dtype != "float32":
    # Over strips the gradients of weights would add up in few bits.
    tiling = tiling._replace(strip_bytes=_WHOLE)
  weigher = weigher or fusers.loss_network(tiling)
  if loss.stride > 1:
    weigher = fusers.strided(weigher, loss.stride)
  if loss.tone_held:
    weigher = fusers.held(weigher, loss.tone)
  elif loss.tone != 0.5:
    weigher = fusers.toned(weigher, loss.tone)
  if loss.none:
    return Networks(fusers.average(weigher), weigher)
  return Networks(fuser or VARIANTS[config.fusion.variant](tiling), weigher)


def _check_variant(config: Config, own: fusers.Fuser | None) -> None:
  one_of(config, "fusion.variant", tuple(VARIANTS))
  plain = config.fusion.variant == "paper"
  beside = "is one of our networks, and a network of your own is given; choose one."
  require(config, plain or own is None, "fusion.variant", beside)
  unused = "does not go with loss.none, which averages the images by G's network."
  require(config, plain or not config.loss.none, "fusion.variant", unused)


def _own(kind: type, field: str, options_field: str, section: Config, given: Any) -> Any:
  """The network of the user's that is given or that `field` names; None for the paper's."""
  name, options = section.network, section[options_field].to_dict()
  if name and given is not None:
    raise ConfigError(f"config.{field}={name!r}, and a network is given in Python; choose one.")
  if options and not name:
    where = f"config.{field.partition('.')[0]}.{options_field}"
    raise ConfigError(f"{where} needs config.{field}, whose options they are.")
  if name and not is_plugin(name):
    raise ConfigError(
      f"config.{field}={name!r}: write package.module:factory, or nothing for the paper's network. "
      "A name without a colon in a run's config.json is of a network given to train() in Python."
    )
  if name:
    given = fusers.own_network(kind, name, options, f"config.{field}")
  if given is not None:
    fusers.require_fit(given, f"config.{field}={name!r}" if name else f"the network {given.name}")
  return given


def with_names(
  values: dict[str, Any], fuser: fusers.Fuser | None, weigher: fusers.Weigher | None
) -> dict[str, Any]:
  """A config as JSON values with the names of networks that were given in Python.

  So that a run folder refuses to go on with another one.
  """
  values = {**values, "fusion": dict(values["fusion"]), "loss": dict(values["loss"])}
  for section, given in (("fusion", fuser), ("loss", weigher)):
    if given is None:
      continue
    if is_plugin(given.name):
      raise ConfigError(f"a network is called {given.name!r}; choose a name without a colon.")
    values[section]["network"] = given.name
  return values


def uses_g(config: Config) -> bool:
  """Whether L_f's weights are G's, be it learned here or as `init.g` gives it."""
  return config.loss.weights in ("learned", "given")


def notes_f(config: Config, used: Networks) -> dict[str, Any]:
  """What the weight file of F notes about its network."""
  if config.loss.none:
    return _notes(used.fuser.name, config.loss.network, config.loss.network_options)
  return _notes(used.fuser.name, config.fusion.network, config.fusion.options)


def notes_g(config: Config, used: Networks) -> dict[str, Any]:
  """What the weight file of G notes about its network."""
  return _notes(used.weigher.name, config.loss.network, config.loss.network_options)


def _notes(arch: str, network: str, options: Config) -> dict[str, Any]:
  if not network:
    return {"arch": arch}
  return {"arch": arch, "network": network, "network_options": options.to_dict()}
