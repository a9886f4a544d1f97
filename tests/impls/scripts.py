"""Every method script there is, imported and checked, by name."""

from reference_impls.core.method import load_script, script_names

SCRIPTS = {name: load_script(name) for name in script_names()}
