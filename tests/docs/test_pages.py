"""README's length, links between pages, and that the reference has every field, verb and option."""

import ast
import re
import sys
import tomllib

import pytest
import yaml
from docs.blocks import ROOT, pages

sys.path.insert(0, str(ROOT / "docs" / "_ext"))
import generated_pages

import tdfusion_jax
from tdfusion_jax.commands import VERBS
from tdfusion_jax.config import base
from tdfusion_jax.metrics.fusion import METRICS

_LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
OTHERS = [
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  "tdfusion_jax/weights/README.md",
  "third_party/README.md",
]


def flat(config, above=""):
  """Dotted names of all fields, by walking the config itself."""
  for name, value in config.items():
    if hasattr(value, "items") and len(value):
      yield from flat(value, f"{above}{name}.")
    else:
      yield f"{above}{name}"


def test_readme_has_at_most_150_lines():
  assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", [*pages(), *OTHERS])
def test_relative_links_lead_somewhere(page):
  text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
  for found in _LINK.finditer(text):
    link = found[1] or found[2]
    if re.match(r"[a-z]+:", link) or link.startswith("#"):
      continue
    place = (ROOT / page).parent / link.partition("#")[0]
    assert place.exists(), f"{page}: {link}"


def test_every_config_field_is_in_the_reference_with_its_default():
  fields = {field.name: field.default for field in generated_pages.config_fields()}
  config = base()
  assert sorted(fields) == sorted(flat(config))
  assert fields["data.crop_size"] == (256, 256) and fields["meta.eta_f"] == 1e-4  # the paper's
  text = generated_pages.config_markdown()
  for name in fields:
    assert f"`{name}` = " in text


def test_comments_beside_fields_are_their_meaning():
  meanings = {field.name: field.comment for field in generated_pages.config_fields()}
  source = (ROOT / "tdfusion_jax" / "config" / "fields.py").read_text()
  assert meanings["data.root"] and meanings["data.root"] in source
  assert generated_pages.section_comments()["fused"] == "what the task stage trains on"


def test_every_field_has_a_meaning():
  guide = generated_pages.guide_meanings()
  bare = [field.name for field in generated_pages.config_fields() if not field.comment]
  assert [name for name in bare if not guide.get(name, "").strip()] == []


def test_the_guide_names_fields_that_exist_with_their_defaults():
  defaults = {field.name: field.default for field in generated_pages.config_fields()}
  # The options after the colon share the page, and some rows are arguments of the detection task.
  options = ("assigner_eps", "assigner_least_side", "class_balance", "multi_label", "candidates")
  of_detection = {f"task.options.{option}" for option in options}
  others = {"runlocal", "upstream", "task", *of_detection}
  assert set(generated_pages.guide_meanings()) - set(defaults) <= others
  guide = (ROOT / "docs" / "guide" / "config.md").read_text()
  rows = re.findall(r"^\| `([a-z_.]+)` \| ([^|]+) \| [^|]+ \|$", guide, re.MULTILINE)
  checked = {name: default for name, default in rows if name in defaults}
  assert len(checked) > 30
  for name, default in checked.items():
    assert ast.literal_eval(default) == defaults[name], name


def test_every_verb_and_option_is_in_the_reference():
  text = generated_pages.all_verbs_markdown()
  assert generated_pages.verbs() == VERBS
  for verb in VERBS:
    assert f"## {verb}\n" in text
    for parser in generated_pages.parsers(verb).values():
      helped = parser.format_help()
      for option in set(re.findall(r"--[a-z][\w-]+", helped)) - {"--help"}:
        assert option in text, f"{verb} {option}"


def test_every_metric_has_its_formula():
  rows = re.findall(
    r"^\| `(\w+)` \| (.+) \|$", (ROOT / "docs/reference/metrics.md").read_text(), re.M
  )
  assert [name for name, _ in rows if name not in METRICS] == []
  assert sorted(name for name, _ in rows) == sorted(METRICS)
  assert all(len(formula) > 8 for _, formula in rows)


def test_pages_ask_only_for_what_can_be_generated():
  for page in pages():
    for kind, which in generated_pages._PLACE.findall((ROOT / page).read_text()):
      assert generated_pages.generated(kind, which or None)
  with pytest.raises(LookupError, match="nothing is not known"):
    generated_pages.generated("nothing", None)


def test_the_version_is_the_same_wherever_it_stands():
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  heading = r"^## (\d+\.\d+\.\d+)"
  notes, changes = (
    re.findall(heading, (ROOT / name).read_text(), re.MULTILINE)
    for name in ("docs/project/releases.md", "CHANGELOG.md")
  )
  cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
  assert project["version"] == tdfusion_jax.__version__ == cited == changes[0] == notes[0]


def test_the_release_notes_fit_on_a_screen():
  text = (ROOT / "docs" / "project" / "releases.md").read_text()
  notes = re.split(r"^## ", text, flags=re.MULTILINE)[1]
  assert notes.startswith("0.1.0\n") and len(notes.splitlines()) <= 40
