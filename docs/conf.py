"""How Sphinx builds the manual, without network.

sphinx-build -W --keep-going -b html docs docs/_build
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "docs" / "_ext"))
# The notebook runs in a process of its own, which inherits the environment and not this path.
os.environ["PYTHONPATH"] = os.pathsep.join(
  filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from tdfusion_jax import __version__  # noqa: E402 - after the path

project = "tdfusion_jax"
author = "the tdfusion_jax contributors"
copyright = "2026, the tdfusion_jax contributors"
version = release = __version__

extensions = [
  "myst_nb",
  "sphinx.ext.autodoc",
  "sphinx.ext.napoleon",
  "sphinx.ext.viewcode",
  "generated_pages",
  "mathml",
  "plain_docstrings",
]
# A name such as DatasetError is documented where it is defined and in its room: either is meant.
suppress_warnings = ["ref.python"]
exclude_patterns = ["_build", "_ext", "jupyter_execute", "recipes"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline", "attrs_block"]
myst_heading_anchors = 4
nb_execution_mode = "auto"
nb_execution_timeout = 600  # seconds; compiling takes most of the first run
nb_execution_raise_on_error = True
nb_merge_streams = True

# Tables such as METRICS would fill pages; what matters of a value is in its docstring.
autodoc_default_options = {"no-value": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"tdfusion_jax {release}"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
