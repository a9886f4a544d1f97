"""A method's script on its page: its lines, and links to those that a reader looks for."""

from __future__ import annotations

import ast

from mmalign.site.text import code

PARTS = {
    "Config": "hyperparameters, each with its source",
    "make_pairs": "data step",
    "make_sft": "data step",
    "rewards": "rewards",
    "prepare": "negative images",
    "advantages": "advantages",
    "gae": "advantages and returns",
    "loss": "objective",
}
"""Name in a script -> what it is. Functions `reward_*` are rewards, too."""
OBJECTIVES = "reference_impls.core.objective."
"""Modules with what objectives of several scripts have in common."""


def listing(source: str) -> str:
    """The script with numbered lines, each with an anchor (`#L12`), as HTML on one line."""
    lines = "&#10;".join(
        f'<span id="L{number}"><a href="#L{number}">{number:4}</a>  {_entities(line)}</span>'
        for number, line in enumerate(source.rstrip().splitlines(), 1)
    )
    return (
        "<details><summary>The whole script, "
        f"{len(source.splitlines())} lines</summary>"
        f'<div class="highlight script" tabindex="0"><pre><code>{lines}</code></pre></div>'
        "</details>"
    )


def terms(source: str) -> list[tuple[str, str, int]]:
    """(name, what it is, line) of the parts of a script and of the terms of its objective.

    A term is a name that `loss` gives to something: scripts call the terms of an equation by the
    words of the paper.
    """
    found = []
    for node in ast.parse(source).body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        if node.name in PARTS:
            found.append((node.name, PARTS[node.name], node.lineno))
        elif node.name.startswith("reward_"):
            found.append((node.name, "a reward", node.lineno))
        if node.name == "loss":
            seen = set()
            for each in ast.walk(node):
                if not isinstance(each, ast.Assign):
                    continue
                for target in each.targets:
                    for part in target.elts if isinstance(target, ast.Tuple) else [target]:
                        if isinstance(part, ast.Name) and part.id not in seen:
                            seen.add(part.id)
                            found.append((part.id, "in the objective", each.lineno))
    return found


def links(source: str) -> str:
    """The parts and terms of a script as links to their lines, on one line."""
    return ", ".join(
        f'<a href="#L{line}" title="{about}">{code(name)}</a>'
        for name, about, line in terms(source)
    )


def plays(source: str) -> bool:
    """Whether a stage of the script plays in environments, so that no dataset takes their place."""
    calls = (each for each in ast.walk(ast.parse(source)) if isinstance(each, ast.Call))
    return any(word.arg == "environments" for call in calls for word in call.keywords)


def shared(source: str) -> str:
    """What a script has of the objectives that all scripts share, in a sentence; empty where it has
    nothing of them."""
    names: dict[str, list[str]] = {}
    own = {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(OBJECTIVES):
            continue
        file = f"{str(node.module).removeprefix('reference_impls.').replace('.', '/')}.py"
        for each in node.names:
            if each.asname == "loss" and "loss" not in own:
                return f"Its objective is {code(each.name)} of {code(file)}, as it stands there."
            names.setdefault(file, []).append(each.name)
    parts = [f"{', '.join(map(code, used))} of {code(file)}" for file, used in names.items()]
    return f"It shares with other scripts {'; '.join(parts)}." if parts else ""


def _entities(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
