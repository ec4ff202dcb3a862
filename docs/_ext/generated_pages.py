"""What the reference takes from the code: every config field, and every option of every verb.

A page holds a comment such as `<!-- generated: config -->`. Markdown replaces it when the page is
read.
"""

import argparse
import ast
import importlib
import io
import re
import runpy
import sys
import tokenize
from pathlib import Path
from typing import Any, NamedTuple

_PLACE = re.compile(r"<!-- generated: (\w+)(?: ([\w-]+))? -->")


class Field(NamedTuple):
  """A field of the config."""

  name: str
  """Dotted, such as `data.crop_size`."""
  default: Any
  comment: str
  """What stands beside it in the code; empty if nothing does."""


class Option(NamedTuple):
  """An option of a verb."""

  names: str
  """As on the command line, with the placeholder of its value."""
  required: bool
  meaning: str


def config_fields() -> list[Field]:
  """Every field of `config.base()`, in the order of the code."""
  from tdfusion_jax.config import base

  file = Path(sys.modules[base.__module__].__file__ or "")
  comments = _comments(file)
  defaults = base()
  fields = []
  for name, first, last in _leaves(_tree_of(base, file), ""):
    fields.append(Field(name, _at(defaults, name), _comment_of(comments, first, last)))
  return fields


def guide_meanings() -> dict[str, str]:
  """{field: what the tables of the guide to config say}, for fields without a comment."""
  guide = (Path(__file__).resolve().parents[1] / "guide" / "config.md").read_text()
  found = {}
  for names, meaning in re.findall(r"^\| (`[^|]+`) \| [^|]* \| ([^|]+) \|$", guide, re.MULTILINE):
    for name in re.findall(r"`([a-z_.{},]+)`", names):
      for letter in "fgt" if "{f,g,t}" in name else " ":
        found[name.replace("{f,g,t}", letter)] = meaning
  return found


def section_comments() -> dict[str, str]:
  """{section: what stands beside its opening brace}."""
  from tdfusion_jax.config import base

  file = Path(sys.modules[base.__module__].__file__ or "")
  tree, comments = _tree_of(base, file), _comments(file)
  found = {}
  for key, value in zip(tree.keys, tree.values, strict=True):
    # On one line, the comment belongs to the fields.
    several_lines = isinstance(key, ast.Constant) and value.end_lineno != key.lineno
    if isinstance(key, ast.Constant) and isinstance(value, ast.Dict) and several_lines:
      found[str(key.value)] = _comment_of(comments, key.lineno, key.lineno)
  return found


def _tree_of(function: Any, file: Path) -> ast.Dict:
  """The dictionary that `function` hands to `ConfigDict`."""
  for node in ast.walk(ast.parse(file.read_text())):
    if isinstance(node, ast.FunctionDef) and node.name == function.__name__:
      return next(inner for inner in ast.walk(node) if isinstance(inner, ast.Dict))
  raise LookupError(f"{file} has no function {function.__name__}.")


def _leaves(tree: ast.Dict, above: str) -> list[tuple[str, int, int]]:
  """[(dotted name, first line, last line)]; an empty dictionary is a field too."""
  found = []
  for key, value in zip(tree.keys, tree.values, strict=True):
    if not isinstance(key, ast.Constant):
      raise LookupError(f"line {value.lineno}: a config's fields are plain texts.")
    name = f"{above}{key.value}"
    if isinstance(value, ast.Dict) and value.keys:
      found += _leaves(value, f"{name}.")
    else:
      found.append((name, key.lineno, value.end_lineno or value.lineno))
  return found


def _comments(file: Path) -> dict[int, tuple[str, bool]]:
  """{line: (comment, whether it stands alone on its line)}."""
  found = {}
  for token in tokenize.generate_tokens(io.StringIO(file.read_text()).readline):
    if token.type == tokenize.COMMENT:
      found[token.start[0]] = (token.string.lstrip("# "), not token.line[: token.start[1]].strip())
  return found


def _comment_of(comments: dict[int, tuple[str, bool]], first: int, last: int) -> str:
  """The lines directly above the field, and what stands behind it."""
  parts = []
  line = first - 1
  while line in comments and comments[line][1]:
    parts.insert(0, comments[line][0])
    line -= 1
  behind = comments.get(last)
  if behind and not behind[1]:
    parts.append(behind[0])
  return " ".join(parts)


def _at(config: Any, name: str) -> Any:
  for part in name.split("."):
    config = config[part]
  return config.to_dict() if hasattr(config, "to_dict") else config


def config_markdown(section: str | None = None) -> str:
  """A heading and a list of fields for each section of the config, or for one."""
  sections: dict[str, list[Field]] = {}
  abouts = section_comments()
  for field in config_fields():
    above = field.name.split(".")[0] if "." in field.name else "general"
    sections.setdefault(above, []).append(field)
  parts = []
  for name, fields in sections.items():
    if section not in (None, name):
      continue
    about = [_sentence(abouts[name]), ""] if abouts.get(name) else []
    parts.append("\n".join([f"## {name}", "", *about, *map(_field_markdown, fields)]))
  return "\n".join(parts)


def _sentence(text: str) -> str:
  return f"{text[0].upper()}{_plain(text[1:])}."


def _field_markdown(field: Field) -> str:
  """An item of a definition list, which fits a phone where a table does not."""
  text = _plain(field.comment) or guide_meanings().get(field.name, "")
  meaning = f": {text}\n" if text else ""
  return f"`{field.name}` = `{_value(field.default)}`\n{meaning}"


def _value(value: Any) -> str:
  return (
    '""' if value == "" else repr(value) if isinstance(value, float | tuple | dict) else str(value)
  )


def _plain(text: str) -> str:
  """Markdown that shows `text` as it is; angles and stars would be taken as markup."""
  parts = text.split("`")
  return "`".join(
    part if at % 2 else re.sub(r"([<>*_\[\]])", r"\\\1", part) for at, part in enumerate(parts)
  )


def verbs() -> dict[str, str]:
  """{verb: its line of help}, of `tdfusion`."""
  from tdfusion_jax.commands import VERBS

  return dict(VERBS)


def parsers(verb: str) -> dict[str, argparse.ArgumentParser]:
  """{command: its parser}: one, or one for each action of a verb that has actions."""
  module = importlib.import_module(f"tdfusion_jax.commands.{verb}")
  parser = argparse.ArgumentParser(f"tdfusion {verb}", description=module.ABOUT)
  module.add_arguments(parser)
  actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
  if not actions:
    return {f"tdfusion {verb}": parser}
  return {f"tdfusion {verb} {name}": inner for name, inner in actions[0].choices.items()}


def options(parser: argparse.ArgumentParser) -> list[Option]:
  """Every option and argument, `--help` left out."""
  found = []
  for action in parser._actions:
    if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:
      continue
    found.append(Option(_names(action), action.required, _meaning(parser, action)))
  return found


def _names(action: argparse.Action) -> str:
  metavar = action.metavar or (
    "{" + ",".join(map(str, action.choices)) + "}" if action.choices else None
  )
  metavar = metavar or action.dest.upper()
  if not action.option_strings:
    return str(metavar)
  value = "" if action.nargs == 0 else f" {metavar}"
  more = " ..." if action.nargs in ("+", "*") else ""
  return ", ".join(action.option_strings) + value + more


def _meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
  text = parser._get_formatter()._expand_help(action) if action.help else ""
  default = action.default
  shown = default not in (None, False, [], "", argparse.SUPPRESS) and "default" not in text
  if shown and action.nargs != 0:
    words = " ".join(map(str, default)) if isinstance(default, list) else str(default)
    text += f" (default {_home(words)})"
  return text


def _home(text: str) -> str:
  """A path below the home folder of whoever builds the manual is nobody else's."""
  return text.replace(str(Path.home()), "~")


def verb_markdown(verb: str) -> str:
  """For each command of `verb` its example and a list of its options."""
  module = importlib.import_module(f"tdfusion_jax.commands.{verb}")
  parts = [_plain(" ".join(module.ABOUT.split())), ""]
  for command, parser in parsers(verb).items():
    found = options(parser)
    parts += [f"### {command}" if len(parsers(verb)) > 1 else "", ""]
    if parser.description and parser.description != module.ABOUT:
      parts += [_plain(" ".join(parser.description.split())), ""]
    for option in found:
      needed = " (needed)" if option.required and option.names.startswith("-") else ""
      parts += [f"`{option.names}`{needed}", f": {_plain(_home(option.meaning))}", ""]
  return "\n".join(parts)


def all_verbs_markdown() -> str:
  """A heading and the options of every verb."""
  parts = []
  for verb, line in sorted(verbs().items()):
    parts += [f"## {verb}", "", f"_{line}._", "", verb_markdown(verb), ""]
  return "\n".join(parts)


def metrics_markdown() -> str:
  """A table of all fusion metrics."""
  from tdfusion_jax.metrics.fusion import METRICS, PAPER

  rows = []
  for name, metric in METRICS.items():
    shown = f"**`{name}`**" if name in PAPER else f"`{name}`"
    better = "higher" if metric.higher_is_better else "lower"
    rows.append(f"| {shown} | {better} | {metric.bounds} | {metric.source} |")
  return "\n".join(["| metric | better | values | source |", "|---|---|---|---|", *rows])


def tested_markdown() -> str:
  """The tables of tests/docs/substitutions.py."""
  place = Path(__file__).resolve().parents[2] / "tests" / "docs" / "substitutions.py"
  tables = runpy.run_path(str(place))
  smaller = {field: _value(value) for field, value in tables["SMALLER"].items()}
  runs = {name: f"`{arguments}`" for name, arguments in tables["RUNS"].items()}
  extra = {start: f"`{more}`" for start, more in tables["ARGUMENTS"].items()}
  parts = [
    *_listed(
      "Made ready", "What a command names, if no command before it has made it", tables["MADE"]
    ),
    *_listed("Runs", "A page names them, another page trains them", runs),
    "## Trainings",
    "",
    tables["NETWORKS"],
    "These fields are set where the command asks for more; all others are the command's own:",
    "",
    *(f"- `{field}` = `{value}`" for field, value in smaller.items()),
    "",
    *_listed("Put behind a command", "One arm and one seed stand for all", extra),
    *_listed("Not run", "Each with its reason", tables["NOT_RUN"]),
    *_listed("Run where a package is installed", "Each with the package", tables["NEEDS"]),
    "Lines that install something are not run either. The extras that they name must be in "
    "`pyproject.toml`: " + ", ".join(f"`{start}`" for start in tables["INSTALLING"]) + ".",
  ]
  return "\n".join(parts)


def _listed(title: str, about: str, rows: dict[str, str]) -> list[str]:
  return [f"## {title}", "", f"{about}:", "", *(f"`{k}`\n: {v}\n" for k, v in rows.items())]


def generated(kind: str, which: str | None) -> str:
  """The Markdown for one comment.

  Raises:
    LookupError: nothing of that kind can be generated.
  """
  if kind == "config":
    return config_markdown(which)
  if kind == "verbs":
    return all_verbs_markdown()
  if kind == "metrics":
    return metrics_markdown()
  if kind == "tested":
    return tested_markdown()
  if kind == "verb" and which:
    return verb_markdown(which)
  raise LookupError(
    f"generated: {kind} is not known; there are: config, verbs, verb NAME, metrics, tested."
  )


def fill(app: Any, docname: str, source: list[str]) -> None:
  """Handler of `source-read`; replaces the comments in a page."""
  del app, docname
  source[0] = _PLACE.sub(lambda found: generated(found[1], found[2]), source[0])


def setup(app: Any) -> dict[str, bool]:
  """Registers the handler."""
  app.connect("source-read", fill)
  return {"parallel_read_safe": True}
