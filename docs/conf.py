"""How Sphinx builds the documentation."""

from geventws.version import version

project = "geventws"
author = "geventws developers"
copyright = "geventws developers"
release = version

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"

html_theme = "furo"
html_title = f"geventws {release}"
