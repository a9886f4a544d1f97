"""From the text of YAML files to checked objects."""
