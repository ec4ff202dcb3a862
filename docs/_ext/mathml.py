"""Formulas as MathML, made while the manual is built: no script and no network, unlike MathJax."""

from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx


def visit_inline(translator: Any, node: nodes.math) -> None:
  """A formula within a line."""
  translator.body.append(tex2mathml(node.astext()))
  raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
  """A formula on lines of its own; one that is wider than the page can be scrolled."""
  formula = tex2mathml(node.astext(), as_block=True)
  translator.body.append(f'<div class="math" style="overflow: auto hidden">{formula}</div>')
  raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
  """Called by Sphinx."""
  app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
  return {"parallel_read_safe": True, "parallel_write_safe": True}
