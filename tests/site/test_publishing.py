"""The workflow files, the forms for issues and pull requests, and what a shared link shows."""

from __future__ import annotations

import re
import shlex
import struct
from pathlib import Path

import pytest
import yaml

import screenshots
from mmalign.cli import COMMANDS, cli

GITHUB = Path(__file__).resolve().parents[2] / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FULL_VERSION = re.compile(r"actions/[a-z-]+@v\d+\.\d+\.\d+")


def workflow(name: str) -> dict:
    """A parsed workflow; YAML 1.1 reads its key `on` as true."""
    read = yaml.safe_load((GITHUB / "workflows" / f"{name}.yml").read_text("utf-8"))
    read["on"] = read.pop(True)
    return read


def steps(name: str) -> list[dict]:
    return [step for job in workflow(name)["jobs"].values() for step in job.get("steps", ())]


def commands() -> list[list[str]]:
    """Words of each command that a workflow runs."""
    runs = [step["run"] for file in WORKFLOWS for step in steps(file.stem) if "run" in step]
    return [shlex.split(line) for run in runs for line in run.splitlines()]


def test_there_are_two_workflows():
    assert [file.name for file in WORKFLOWS] == ["ci.yml", "pages.yml"]


def test_every_command_exists(checkout):
    makefile = (checkout / "Makefile").read_text("utf-8")
    assert ["make", "test"] in commands()
    for program, *arguments in commands():
        if program == "make":
            for target in arguments:
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
            continue
        assert program == ".venv/bin/mmalign", f"what is {program}?"
        command = cli.get_command(None, arguments[0])
        assert arguments[0] in COMMANDS and command is not None
        known = {option for each in command.params for option in each.opts}
        assert {word for word in arguments if word.startswith("-")} <= known


def test_the_site_is_built_as_mmalign_builds_it(checkout):
    recipe = re.search(r"^site:.*\n((?:\t.*\n)+)", (checkout / "Makefile").read_text("utf-8"), re.M)
    assert "mmalign site build" in recipe[1]
    (build,) = [step for step in steps("pages") if step.get("run") == "make site"]
    (name,) = build["env"]
    config = (checkout / "mkdocs.yml").read_text("utf-8")
    assert f"site_url: !ENV [{name}, " in config
    # mkdocs joins paths to it, so it ends in a slash; GitHub gives it without.
    assert build["env"][name] == "${{ steps.pages.outputs.base_url }}/"
    (upload,) = [s for s in steps("pages") if "upload-pages-artifact" in s.get("uses", "")]
    assert upload["with"]["path"] == "site" and "site_dir" not in config


def test_only_official_actions_at_full_versions():
    used = [step["uses"] for file in WORKFLOWS for step in steps(file.stem) if "uses" in step]
    assert len(used) >= 6
    for action in used:
        assert FULL_VERSION.fullmatch(action), action
    versions = {action.split("@")[0]: action for action in used}
    assert set(versions.values()) == set(used), "one action at two versions"


def test_permissions_are_minimal():
    for file in WORKFLOWS:
        assert workflow(file.stem)["permissions"] == {"contents": "read"}
    jobs = workflow("pages")["jobs"]
    writers = {
        name: {scope for scope, right in job.get("permissions", {}).items() if right == "write"}
        for name, job in jobs.items()
    }
    assert writers == {"test": set(), "build": set(), "deploy": {"pages", "id-token"}}
    assert all("permissions" not in job for job in workflow("ci")["jobs"].values())
    for file in WORKFLOWS:
        assert "secrets." not in file.read_text("utf-8")
        for step in steps(file.stem):
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


def test_nothing_is_published_that_was_not_tested():
    pages = workflow("pages")
    assert pages["on"] == {"push": {"branches": ["main"]}, "workflow_dispatch": None}
    assert set(pages["jobs"]["deploy"]["needs"]) == {"test", "build"}
    assert pages["jobs"]["test"]["uses"] == "./.github/workflows/ci.yml"
    assert "workflow_call" in workflow("ci")["on"] and "pull_request" in workflow("ci")["on"]


def test_no_text_from_outside_gets_into_a_shell():
    for words in commands():
        assert not any("${{" in word for word in words)


# --- issues and pull requests --------------------------------------------------------------------


def test_the_form_for_corrections_is_a_form():
    form = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE/correct-a-record.yml").read_text("utf-8"))
    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    assert {"record", "says", "correct", "source"} <= {
        field["id"] for field in form["body"] if field.get("validations", {}).get("required")
    }
    for field in form["body"]:
        assert field["type"] in {"input", "textarea", "dropdown", "checkboxes"}
        assert field["attributes"]["label"]


def test_the_chooser_is_read_by_github():
    config = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE/config.yml").read_text("utf-8"))
    assert config == {"blank_issues_enabled": True}


def test_the_pull_request_template_names_commands_that_exist(checkout):
    text = (GITHUB / "pull_request_template.md").read_text("utf-8")
    makefile = (checkout / "Makefile").read_text("utf-8")
    for target in re.findall(r"`make (\w+)`", text):
        assert f"\n{target}:" in makefile
    for name in re.findall(r"`mmalign (\w+)", text):
        assert name in COMMANDS


# --- pictures ------------------------------------------------------------------------------------


def png_size(file: Path) -> tuple[int, int]:
    head = file.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n"), file
    return struct.unpack(">II", head[16:24])


def test_the_card_is_there(checkout):
    card = checkout / "docs/assets/card.png"
    assert png_size(card) == (screenshots.CARD_WIDTH, screenshots.CARD_HEIGHT)
    assert card.stat().st_size < screenshots.MOST_BYTES


@pytest.mark.parametrize("shot", screenshots.SHOTS, ids=lambda shot: shot.name)
def test_the_readme_shows_each_picture(checkout, shot):
    file = f"docs/assets/screenshots/{shot.name}.png"
    readme = (checkout / "README.md").read_text("utf-8")
    assert re.search(rf"!\[[^\]]+\]\({re.escape(file)}\)", readme), "with a text alternative"
    assert (checkout / file).exists(), "run: make screenshots"
    assert png_size(checkout / file) == (screenshots.WIDTH, screenshots.HEIGHT)
    assert (checkout / file).stat().st_size < screenshots.MOST_BYTES


def test_pictures_for_the_readme_are_no_part_of_the_site(built):
    assert not (built.folder / "assets" / "screenshots").exists()
    assert (built.folder / "assets" / "card.png").exists()


# --- what a shared link shows --------------------------------------------------------------------


def meta(html: str) -> dict[str, str]:
    found = re.findall(r'<meta (?:property|name)="?([a-z:_]+)"? content="([^"]*)"', html)
    return dict(found)


def test_a_page_says_what_it_is_to_whoever_links_to_it(built):
    home, method = meta(built.html["index.html"]), meta(built.html["methods/mdpo/index.html"])
    assert home["og:title"] == "mmalign"
    assert method["og:title"].startswith("mDPO")
    assert method["og:description"] == method["description"]
    # Without an address no picture can be named: it has to be a full one.
    assert "og:image" not in method


def test_with_an_address_there_is_a_picture(checkout):
    from jinja2 import DictLoader, Environment

    source = (checkout / "tools/mmalign/site/overrides/main.html").read_text("utf-8")
    base = '{% block extrahead %}{% endblock %}{% block header %}<p role="dialog">{% endblock %}'
    template = Environment(loader=DictLoader({"base.html": base})).from_string(source)
    page = {"title": 'A "b"', "meta": {}, "canonical_url": "https://x.example/atlas/a/"}
    config = {
        "site_name": "n", "site_description": "d", "site_url": "https://x.example/atlas/",
    }  # fmt: skip
    found = meta(template.render(page=page, config=config))
    assert found["og:image"] == "https://x.example/atlas/assets/card.png"
    assert found["og:url"] == "https://x.example/atlas/a/"
    assert found["og:title"] == "A &quot;b&quot;"
    assert found["twitter:card"] == "summary_large_image"
    assert "og:image" not in meta(template.render(page=None, config=config))
