"""Whatever is given, or missing around the program: one clear line and the right status."""

from __future__ import annotations

import contextlib
import errno
import os
import pty
import shlex
import subprocess
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest

from mmalign.cli import layout, output

# What a shell makes of `$M`: the program on the fabricated records.
ENTRY = [sys.executable, "-m", "mmalign"]


@pytest.fixture
def shell(checkout: Path, data_root: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run a line of sh in which `$M` is the program."""

    def call(line: str, **env: str) -> subprocess.CompletedProcess:
        path = os.pathsep.join((str(checkout / "tools"), str(checkout)))
        program = shlex.join([*ENTRY, "--root", str(data_root)])
        command = ["bash", "-c", line.replace("$M", program)]
        environment = {**os.environ, "PYTHONPATH": path, **env}
        options = {"encoding": "utf-8", "errors": "replace", "timeout": 60}
        return subprocess.run(command, env=environment, capture_output=True, **options)

    return call


def one_line(done, status: int, said: str) -> None:
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("Error: "), done.stderr
    assert said in done.stderr


# --- streams


@pytest.mark.parametrize("command", ["list papers", "--help", "show lamp --json", "graph", "stats"])
def test_a_closed_stdout_is_said(shell, command):
    one_line(shell(f"$M {command} >&-"), 1, "standard output is closed")


@pytest.mark.parametrize("command", ["list papers", "--help", "graph"])
def test_a_full_disk_is_said(shell, command):
    one_line(shell(f"$M {command} >/dev/full"), 1, os.strerror(errno.ENOSPC))


def test_a_closed_stderr_changes_no_status(shell):
    assert shell("$M list papers 2>&-").returncode == 0
    assert shell("$M show nonsense 2>&-").returncode == 2
    assert shell("$M show nonsense >&- 2>&- <&-").returncode == 2
    assert shell("$M list papers >&- 2>&- <&-").returncode == 1


def test_a_closed_stdin_is_an_empty_one(shell):
    done = shell("$M list papers --format ids <&-")
    assert done.returncode == 0 and "lamp" in done.stdout.split()


@pytest.mark.parametrize("command", ["--help", "list papers", "graph", "query --help"])
def test_a_reader_that_goes_away_is_no_error(shell, command):
    done = shell(f"$M {command} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, "")


def test_no_file_takes_the_place_of_a_closed_stream(shell, tmp_path):
    """With stdout closed, the first file that is opened would be it, and be written to."""
    done = shell("$M graph --output out.json >&- 2>&- <&-; cat out.json", HOME=str(tmp_path))
    try:
        assert done.stdout.startswith("{")
    finally:
        Path("out.json").unlink(missing_ok=True)


# --- values


POOR = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("env", [{}, POOR], ids=["utf-8", "ascii"])
def test_bytes_that_are_not_utf_8(shell, env, tmp_path):
    one_line(shell("$M show $'\\xff\\xfe'", **env), 2, "no entry is called")
    one_line(shell(f"$M --root {tmp_path}/$'\\xff' list papers", **env), 2, "does not hold both")
    one_line(shell("$M diff $'\\xff'", **env), 1, "is no folder, wheel or git revision")
    one_line(shell("$M query $'\\xff'", **env), 2, "holds no word")
    root = f"{tmp_path}/$'k\\xff\\n'"
    copied = f"cp -r {Path(__file__).parents[1]}/kb/data {root}"
    listed = f"{shlex.join(ENTRY)} --root {root} list papers --format ids"
    done = shell(f"{copied} && {listed}", **env)
    assert (done.returncode, done.stderr) == (0, "") and "lamp" in done.stdout.split()


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("--root", "", "list", "papers"), 2, "not an empty name"),
        (("show", "a" * 100_000), 2, "no entry is called"),
        (("show", "a\nError: forged\x1b[2J\u202e"), 2, r"forged\x1b[2J\u202e"),
        (("show", "a\0b"), 2, "NUL"),
        (("no-such\ncommand",), 2, "no command is called"),
        (("x" * 100_000,), 2, "no command is called"),
        (("diff", ""), 2, "not an empty name"),
        (("diff", "--", "--output=FILE"), 2, "begins with a hyphen"),
        (("diff", "HEAD", "-x"), 2, "No such option"),
        (("diff", "x" * 100_000), 2, "is too long"),
        (("diff", "a\nb"), 2, "control character"),
        (("gaps", "--limit", "1_0"), 2, "'1_0' is not a whole number"),
        (("gaps", "--limit", "\u0661"), 2, "is not a whole number"),
        (("gaps", "--limit", " 1"), 2, "is not a whole number"),
        (("gaps", "--limit", "0"), 2, "is not in the range"),
        (("gaps", "--limit", "9" * 5000), 2, "is not a whole number"),
        (("path", "lamp", "red-lantern", "--number", "1e1"), 2, "is not a whole number"),
        (("graph", "--depth", "+-1"), 2, "is not a whole number"),
        (("graph", "--output", "/dev/null/x"), 1, "Not a directory"),
        (("graph", "--output", "/none/x"), 1, "/none/x: No such file"),
        (("graph", "--output", ""), 2, "a file is wanted, not an empty name"),
        (("bib", "export", "--output", ""), 2, "a file is wanted, not an empty name"),
        (("bib", "import", ""), 2, "a file is wanted, not an empty name"),
        (("new", "--issue", ""), 2, "a file is wanted, not an empty name"),
        (("site", "build", "--out", ""), 2, "a folder is wanted, not an empty name"),
        (("bench", "--out", ""), 2, "a folder is wanted, not an empty name"),
        (("run", "dpo", "--output", ""), 2, "a value is wanted"),
        (("run", "dpo", "--output="), 2, "--output: a value is wanted"),
        (("bib", "import", "/dev/zero"), 1, "has more than"),
        (("new", "--issue", "/dev/zero"), 1, "has more than"),
        (("new", "--bibtex", "/dev/zero"), 1, "has more than"),
        (("open", "lantern"), 2, "did you mean"),
        (("open", "--page"), 2, "Missing argument"),
    ],
)  # fmt: skip
def test_a_value_that_means_nothing_is_one_line(mm, args, status, said):
    result = mm(*args)
    assert result.exit_code == status, result.output
    assert result.stderr.count("\n") == 1 and said in result.stderr
    assert len(result.stderr) < 1000 and result.stderr.rstrip("\n").isprintable()


@pytest.mark.parametrize("words", [("bib", "import"), ("new", "--bibtex"), ("new", "--issue")])
def test_a_pipe_is_read_but_not_waited_for(shell, tmp_path, words):
    os.mkfifo(tmp_path / "pipe")
    line = f"$M {shlex.join(words)}"
    one_line(shell(f"{line} {tmp_path}/pipe"), 1, "is a pipe that nothing was written to")
    one_line(shell(f"{line} <(true)"), 1, "is a pipe that nothing was written to")
    late = shell(f"{line} <(sleep 0.5; printf '@a{{b}}\n### Title\n\nA late one\n')")
    assert late.returncode == 1 and ("no title" in late.stderr or "Authors" in late.stderr)


def test_a_value_never_reaches_git_as_an_option(shell, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for line in (f"$M diff -- --output={precious}", f"$M diff -- HEAD --output={precious}"):
        one_line(shell(line), 2, "begins with a hyphen")
    assert precious.read_text() == "precious"


def test_a_root_that_is_no_folder(mm, tmp_path):
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    for name in ("dangling", "loop", "file", "file/x", "none"):
        result = mm("list", "papers", root=tmp_path / name)
        assert result.exit_code == 2 and result.stderr.count("\n") == 1, result.output


def test_a_working_directory_that_is_gone(shell, tmp_path):
    (tmp_path / "gone").mkdir()
    line = f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && {shlex.join(ENTRY)} list papers"
    one_line(shell(line), 2, "the working directory is gone")


def test_revisions_of_any_shape_are_compared(mm, tree):
    tree.write("papers/lamp.yaml", "id: lamp\nmethods: [x]\n")
    result = mm("diff", str(tree.root), root=tree.root)
    assert (result.exit_code, result.stdout) == (1, "nothing changed\n")
    place = f"cannot compare papers/lamp.yaml: methods[0] is text, not a mapping ({tree.root})"
    assert result.stderr == f"note: {place}\nnote: {place.replace(str(tree.root), 'now')}\n"
    tree.write("papers/lamp.yaml", "id: lamp\nmethods: [" + "x, " * 99 + "x]\n")
    assert (
        "and 180 more that cannot be compared" in mm("diff", str(tree.root), root=tree.root).stderr
    )


def test_a_fault_of_ours_is_told_from_trouble_outside(mm, monkeypatch):
    def fails_with(error: Exception) -> tuple[int, str]:
        def fail(*_):
            raise error

        monkeypatch.setattr("mmalign.cli.output.open_catalogue", fail)
        result = mm("stats")
        return result.exit_code, result.stderr

    hint = "(set MMALIGN_DEBUG=1 to see where)\n"
    assert fails_with(KeyError("x")) == (70, f"Error: KeyError: 'x' {hint}")
    assert fails_with(AssertionError()) == (70, f"Error: AssertionError: no message {hint}")
    assert fails_with(RecursionError("deep\x1b")) == (
        70,
        f"Error: RecursionError: deep\\x1b {hint}",
    )
    assert fails_with(ModuleNotFoundError("x", name="mmalign.y"))[0] == 70
    assert fails_with(ModuleNotFoundError("x", name="yaml"))[0] == 1
    assert fails_with(PermissionError(13, "Permission denied", "a\nb")) == (
        1, "Error: a b: Permission denied\n",
    )  # fmt: skip
    assert fails_with(OSError("no text")) == (1, "Error: no text\n")
    assert fails_with(KeyboardInterrupt()) == (130, "\n")


# --- open


@pytest.fixture
def browser(monkeypatch) -> list[str]:
    """Addresses that a browser was asked for."""
    asked: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: asked.append(url) or True)
    return asked


def test_open_hands_the_address_to_a_browser(mm, browser, tree):
    assert mm("open", "method:red-lantern").stdout == ""
    assert mm("open", "method:red-lantern", "--code").stdout == ""
    paper, code = browser
    assert paper.startswith("https://arxiv.org/abs/") and code.startswith("https://")
    printed = mm("open", "method:red-lantern", "--print")
    assert (printed.exit_code, printed.stdout) == (0, f"{paper}\n") and len(browser) == 2


def test_open_says_what_there_is(mm, browser):
    result = mm("open", "method:red-lantern", "--data")
    assert result.exit_code == 1 and "names no data; there is paper, code" in result.stderr
    result = mm("open", "term:scenario/hallucination")
    assert result.exit_code == 1 and "names no address" in result.stderr
    assert browser == []


@pytest.mark.parametrize("error", [None, webbrowser.Error("x"), OSError("x")])
def test_without_a_browser_the_address_is_printed(mm, monkeypatch, error):
    def refuse(url: str) -> bool:
        if error:
            raise error
        return False

    monkeypatch.setattr(webbrowser, "open", refuse)
    result = mm("open", "method:red-lantern")
    assert result.exit_code == 0 and result.stdout.startswith("https://")
    assert "no browser could be opened" in result.stderr


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://a.example/x?y=z#w", True), ("http://a.example", True), ("HTTPS://A.B", True),
        ("javascript:alert(1)", False), ("file:///etc/passwd", False), ("-x", False), ("", False),
        ("https://", False), ("https:a", False), ("https://a b", False), ("https://a\n", False),
        ("https://[x", False), ("data:text/html,x", False), ("//a.example", False),
    ],
)  # fmt: skip
def test_only_addresses_of_the_web_are_opened(url, good):
    from mmalign.cli.open import is_web_address

    assert is_web_address(url) is good


# --- narrow terminals


WIDTHS = (40, 60, 80, 200)
WIDE = (
    ("compare", "method:red-lantern", "method:blue-kite"),
    ("compare", "method:red-lantern", "method:blue-kite", "method:plain-pairs"),
    ("gaps",),
    ("gaps", "scenario", "dimension", "--matrix"),
    ("tree",),
    ("tree", "--entries"),
)


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("args", WIDE)
def test_nothing_is_wider_than_it_was_asked_to_be(mm, monkeypatch, args, columns):
    whole = mm(*args, env={"COLUMNS": "9999"}).stdout
    shown = mm(*args, env={"COLUMNS": str(columns)}).stdout
    assert max(map(output.width, shown.splitlines())) <= columns

    # Wrapped and stacked, but not cut: every letter is there.
    def letters(text: str) -> set[str]:
        return {word for word in text.lower().split() if word.isalpha() and len(word) < 12}

    assert letters(whole) <= letters(shown.replace(":", " ")) | letters(shown)
    assert "..." not in shown.replace(whole, "")


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("args", [WIDE[1], WIDE[3], WIDE[5]])
def test_a_terminal_is_asked_for_its_width(program, data_root, args, columns):
    import fcntl
    import struct
    import termios

    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {"NO_COLOR": "1", "COLUMNS": ""}
    done = program(
        "--root", str(data_root), *args, env=env, capture_output=False, stdout=inner,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(inner)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while part := os.read(outer, 65536):
            shown += part
    os.close(outer)
    assert done.returncode == 0, done.stderr
    lines = shown.decode().replace("\r\n", "\n").splitlines()
    assert len(lines) > 4 and max(map(output.width, lines)) <= columns


@pytest.mark.parametrize(
    "text", ["", "a", "a b", "a" * 99, "灯 " * 30, "灯" * 50, "a\u202eb " * 20]
)
@pytest.mark.parametrize("size", [7, 20, 80])
def test_wrapped_text_fits_and_is_whole(text, size):
    lines = layout.wrap(text, size, "- ", "  ")
    assert all(output.width(line) <= size for line in lines)
    from mmalign.characters import printable

    kept = "".join(line[2:] for line in lines).replace(" ", "")
    assert kept == printable(text).replace(" ", "")


@pytest.mark.parametrize("said", ["0", "-1", "x", "", "1e3", "\u0661"])
def test_a_width_that_is_no_number_is_not_used(mm, said):
    assert mm("tree", env={"COLUMNS": said}).stdout == mm("tree", env={"COLUMNS": ""}).stdout
