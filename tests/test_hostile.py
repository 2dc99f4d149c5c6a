"""Input made to break a linter: it must neither die nor hang nor keep other files from being checked."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

GOOD = "import torch\n\n\ndef score(model, x):\n    with torch.no_grad:\n        return x\n"
"""A companion in every run. Its finding must be reported whatever happens to the others."""

MEMORY = 2 << 30
TORCH = "import torch\nloss.backward()\n"


def run(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run the linter on ``folder`` with bounded memory, and require what holds for any input."""
    (folder / "good.py").write_text(GOOD)
    prepare: Callable[[], None] | None = None
    if sys.platform == "linux":
        import resource

        def prepare() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    command = [sys.executable, "-m", "gradlint", "--isolated", "--format", "concise", *arguments, "."]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, timeout=60, env={**os.environ, **(env or {})}, preexec_fn=prepare
    )
    assert done.returncode in (0, 1, 2), done
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert b"good.py:5:10: GRD104" in done.stdout, done
    return done


def nested(opening: str, closing: str, count: int) -> str:
    return "x = " + opening * count + "1" + closing * count + "\n"


def nested_try(count: int) -> str:
    lines = ["def f(loss):"]
    for depth in range(count):
        lines += [" " * (depth + 1) + "try:"]
    lines += [" " * (count + 1) + "return loss.backward()"]
    for depth in reversed(range(count)):
        lines += [" " * (depth + 1) + "finally:", " " * (depth + 2) + "loss.item()"]
    return "\n".join(lines) + "\n"


def nested_with(count: int) -> str:
    items = ", ".join(f"torch.no_grad() as a{i}" for i in range(count))
    return f"def f(x):\n    with {items}:\n        return x.sum()\n"


def many_ifs(count: int) -> str:
    branches = "".join(f"    if flags[{i}]:\n        x = x.detach()\n" for i in range(count))
    return f"def f(x, flags):\n{branches}    x.backward()\n"


def ring(count: int) -> str:
    calls = "".join(f"def f{i}(x):\n    f{(i + 1) % count}(x)\n    x.backward()\n" for i in range(count))
    return calls


DEEP: dict[str, str] = {
    "1600 parentheses": nested("(", ")", 1600),
    "5000 parentheses": nested("(", ")", 5000),
    "5000 brackets": nested("[", "]", 5000),
    "5000 braces": nested("{", "}", 5000),
    "100k minus signs": "x = " + "-" * 100_000 + "1\n",
    "20k nots": "x = " + "not " * 20_000 + "1\n",
    "2000 additions": "x = " + "1+" * 2_000 + "1\n",
    "20k additions": "x = " + "1+" * 20_000 + "1\n",
    "3000 attributes": "x = a" + ".b" * 3_000 + "\n",
    "50k attributes": "x = a" + ".b" * 50_000 + "\n",
    "800 method calls": "x = a" + ".b()" * 800 + "\n",
    "3000 method calls": "x = a" + ".b()" * 3_000 + "\n",
    "800 nested calls": "x = " + "f(" * 800 + ")" * 800 + "\n",
    "30k elif": "if a:\n    pass\n" + "elif b:\n    pass\n" * 30_000,
    "3000 lambdas": "x = " + "lambda: " * 3_000 + "1\n",
    "3000 ternaries": "x = " + "1 if a else " * 3_000 + "1\n",
    "300 comprehensions": "x = " + "[" * 300 + "a" + " for a in b]" * 300 + "\n",
    "150 indents": "".join(" " * depth + "if a:\n" for depth in range(150)) + " " * 150 + "pass\n",
    "200k dictionary entries": "x = {" + "1: 2, " * 200_000 + "}\n",
    "30k arguments": "f(" + "1, " * 30_000 + ")\n",
}


@pytest.mark.parametrize("name", DEEP)
def test_too_deep_or_too_wide_is_said_and_not_a_fault(tmp_path: Path, name: str) -> None:
    (tmp_path / "bad.py").write_text(TORCH + DEEP[name])
    done = run(tmp_path)
    assert done.returncode == 2
    assert b"bad.py" in done.stdout and b": GRD000 not analysed: " in done.stdout


LARGE: dict[str, str] = {
    "200 nested calls": "x = " + "f(" * 90 + ")" * 90 + "\n",
    "100 elif": "if a:\n    pass\n" + "elif b:\n    pass\n" * 100,
    "5000 strings": "x = " + "'a' " * 5_000 + "\n",
    "2 MB line": "x = '" + "a" * 2_000_000 + "'\n",
    "2 MB line with marker": "x = '" + "a" * 2_000_000 + "'  # gradlint: ignore[GRD101]\n",
    "100k lines": "a = 1\n" * 100_000,
    "50k tabs in a docstring": 'def f():\n    """' + "\t" * 50_000 + '"""\n',
    "1 MB of hashes": "#" * 1_000_000 + " noqa\n",
    "1 MB of spaced hashes": "# " * 500_000 + "gradlint: \n",
    "1 MB of spaces": "a = 1 #" + " " * 1_000_000 + "noqa:\n",
    "1 MB of noqa": "a = 1 " + "# noqa: " * 125_000 + "\n",
    "1 MB of gradlint": "a = 1 " + "# gradlint: ignore[" * 50_000 + "\n",
    "60 nested try-finally": nested_try(60),
    "400 with items": nested_with(400),
    "2000 sequential ifs": many_ifs(2_000),
    "1000 recursive functions": ring(1_000),
    "10k attributes of a class": "class C:\n    def f(self):\n"
    + "".join(f"        self.a{i} = torch.zeros(1, requires_grad=True)\n" for i in range(10_000)),
    "10k methods": "class C:\n" + "".join(f"    def f{i}(self): self.loss.backward()\n" for i in range(5_000)),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_input_ends(tmp_path: Path, name: str) -> None:
    (tmp_path / "bad.py").write_text(TORCH + LARGE[name])
    run(tmp_path)


BYTES: dict[str, tuple[bytes, str]] = {
    "NUL": (b"import torch\nx = 1\0\nx.backward()\n", "bad.py:2:6: GRD000 contains a NUL byte"),
    "no UTF-8": (b"import torch\nx = '\xff'\nx.backward()\n", "bad.py:2:6: GRD000 is not valid utf-8"),
    "lone surrogate": (b"import torch\nx = '\xed\xa0\x80'\nx.backward()\n", "bad.py:2:6: GRD000 is not valid utf-8"),
    "surrogate in UTF-7": (b"# coding: utf-7\nimport torch\nx = '+2AA-'\nx.backward()\n", "bad.py:3:6: GRD000"),
    "UTF-16": ("import torch\nx.backward()\n".encode("utf-16"), "bad.py:1:1: GRD000 is encoded in UTF-16"),
    "BOM and latin-1": (b"\xef\xbb\xbf# coding: latin-1\nimport torch\nx.backward()\n", "bad.py:1:1: GRD000 starts"),
    "rot13": (b"# coding: rot13\nimport torch\nx.backward()\n", "unknown text encoding `rot13`"),
    "hex": (b"# coding: hex\nimport torch\nx.backward()\n", "unknown text encoding `hex`"),
    "idna": (b"# coding: idna\nimport torch\nx.backward()\n", "the encoding `idna`, which is not read"),
    "unknown codec": (b"\n# coding: klingon\nimport torch\nx.backward()\n", "bad.py:2:1: GRD000 declares"),
    "cut in a character": (b"import torch\nx.backward()\n# \xe2\x82", "bad.py:3:3: GRD000 is not valid utf-8"),
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_text(tmp_path: Path, name: str) -> None:
    data, expected = BYTES[name]
    (tmp_path / "bad.py").write_bytes(data)
    done = run(tmp_path)
    assert done.returncode == 2
    assert expected in done.stdout.decode()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"], ids=repr)
def test_lines_end_where_python_ends_them(tmp_path: Path, end: str) -> None:
    text = f"import torch{end}# form\ffeed \x1c \x85 \u2028 {end}with torch.no_grad:{end}    pass"
    (tmp_path / "bad.py").write_bytes(text.encode())
    line = 5 if end == "\r\r\n" else 3
    assert f"bad.py:{line}:6: GRD104" in run(tmp_path).stdout.decode()


def test_bom_and_columns_in_characters(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_bytes("\ufeffimport torch\n'😀é'; torch.no_grad()\n".encode())
    assert "bad.py:2:7: GRD103" in run(tmp_path).stdout.decode()


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.py")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "folder.py" / "inside.py").write_text(GOOD)
    (tmp_path / "loop.py").symlink_to("loop.py")
    (tmp_path / "dangling.py").symlink_to("nowhere.py")
    (tmp_path / "zero.py").symlink_to("/dev/zero")
    (tmp_path / "around").symlink_to(".", target_is_directory=True)
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(tmp_path)  # the path of a socket must be short
        try:
            server.bind("socket.py")
        finally:
            os.chdir(here)
        out = run(tmp_path).stdout.decode()
    assert "fifo.py:1:1: GRD000 cannot be read: it is a named pipe, not a file" in out
    assert "socket.py:1:1: GRD000 cannot be read: it is a socket, not a file" in out
    assert "zero.py:1:1: GRD000 cannot be read: it is a device, not a file" in out
    assert "loop.py:1:1: GRD000 cannot be read: a symbolic link that points to itself" in out
    assert "dangling.py:1:1: GRD000 cannot be read: no such file or directory" in out
    assert "folder.py/inside.py:5:10: GRD104" in out
    assert "around" not in out


def test_a_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradlint.source import reading

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "x.py"
    path.write_text(GOOD)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(reading.NotReadable, match="cannot be read: permission denied"):
        reading.read(str(path))


def test_a_file_that_grows_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradlint.source import reading

    path = tmp_path / "x.py"
    path.write_text("#" * 300)
    monkeypatch.setattr(reading, "MAX_BYTES", 100)
    monkeypatch.setattr(os, "fstat", lambda _: os.stat_result((0o100644, *[0] * 9)))
    monkeypatch.setattr(os, "stat", lambda _: os.stat_result((0o100644, *[0] * 9)))
    with pytest.raises(reading.NotReadable, match="larger than"):
        reading.read(str(path))


def test_size_is_looked_at_before_reading(tmp_path: Path) -> None:
    with open(tmp_path / "sparse.py", "wb") as stream:
        stream.truncate(1 << 30)
    (tmp_path / "long.py").write_text("x = '" + "a" * 10_000_000 + "'\n")
    out = run(tmp_path).stdout.decode()
    assert "sparse.py:1:1: GRD000 not analysed: larger than 10 MB" in out
    assert "long.py:1:1: GRD000 not analysed: larger than 10 MB" in out


def test_very_many_empty_files(tmp_path: Path) -> None:
    for number in range(41):
        folder = tmp_path / f"f{number}"
        folder.mkdir()
        for name in range(1000):
            (folder / f"{name}.py").touch()
    assert b"41001 files checked" in run(tmp_path).stdout


@pytest.mark.parametrize("pattern", ["**/" * 30 + "x.py", "*a" * 40 + "b", "**/a/" * 30 + "b", "[" * 1000, "\\" * 999])
def test_patterns_cost_little(tmp_path: Path, pattern: str) -> None:
    deep = tmp_path.joinpath(*["a"] * 60)
    deep.mkdir(parents=True)
    (deep / ("a" * 200 + ".py")).write_text(TORCH)
    (tmp_path / ".gitignore").write_text(pattern + "\n")
    run(tmp_path, "--exclude", pattern)


UGLY = "\x1b[2J\x1b]0;t\x07\x1b]8;;http://x\x1b\\\x1b]52;c;eA==\x07\x9b2J\b\r\u202e\u2066\u200b\u2028\x7f"


@pytest.mark.parametrize("form", ["full", "concise", "github", "json", "sarif"])
def test_nothing_reaches_the_terminal_but_text(tmp_path: Path, form: str) -> None:
    name = "b\n::error file=x.py::FORGED\x1b[2J\u202e%0A,:].py"
    (tmp_path / name).write_text(f"import torch\ndef f(x): torch.no_grad()  # {UGLY[:40]} [link=x]y[/link] :smile:\n")
    (tmp_path / "syntax.py").write_text(f"import torch\nx.backward()  # \nx = '{UGLY.replace(chr(13), '')}' '\n")
    out = run(tmp_path, "--format", "concise").stdout + run_form(tmp_path, form)
    text = out.decode()
    assert all(character.isprintable() or character in "\n" for character in text), text
    assert not any(line.startswith("::error") and "FORGED" in line.partition("::")[0] for line in text.splitlines())
    assert not any(line.lstrip().startswith("::error file=x.py") for line in text.split("\n"))


def run_form(folder: Path, form: str) -> bytes:
    command = [sys.executable, "-m", "gradlint", "--isolated", "--format", form, "."]
    return subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=False).stdout


def test_markup_in_source_is_text(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("import torch\ntorch.no_grad(); '[bold]x[/bold] [link=http://e]y[/link] :smile:'\n")
    out = run_form(tmp_path, "full").decode()
    assert "[bold]x[/bold] [link=http://e]y[/link] :smile:" in out


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16", "latin-1"])
def test_output_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    name = os.fsencode(str(tmp_path)) + b"/\xff\xfe.py"
    with open(name, "w", encoding="utf-8") as stream:
        stream.write("import torch\ntorch.no_grad(); '日本語 é'\n")
    env = {"PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "gradlint", "--isolated", "."]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, timeout=60, env={**os.environ, **env}, check=False
    )
    assert done.returncode == 1 and b"Traceback" not in done.stderr
    assert "\\xff\\xfe.py:2:1: GRD103" in done.stdout.decode(encoding)


def test_the_linted_folder_is_never_imported_from(tmp_path: Path) -> None:
    for name in ("ast", "json", "click", "rich", "typing", "tomllib", "tokenize", "concurrent", "gradlint_plugin"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'RAN')!r}, 'w')\nimport torch\n")
    info = tmp_path / "evil-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gradlint.rules]\nevil = gradlint_plugin\n")
    for number in range(60):
        (tmp_path / f"f{number}.py").write_text(TORCH)
    run(tmp_path, "--jobs", "2")
    assert not (tmp_path / "RAN").exists()
