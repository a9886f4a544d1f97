"""Every method script there is, by name."""

import importlib

from reference_impls.core.command_line import scripts

SCRIPTS = {name: importlib.import_module(f"reference_impls.methods.{name}") for name in scripts()}
