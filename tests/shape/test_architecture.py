"""Promises to whoever reads or imports the code."""

import ast
import os
import re
import subprocess
import sys

from tests.shape.tree import code, files, parsed, text

MOST_LINES = 400
BANNED_NOUNS = {
    "common", "data", "handler", "helper", "info", "manager", "misc", "processor", "service", "util",
}  # fmt: skip
HEAVY = {
    "httpx", "httpx2", "openai", "prometheus_client", "pydantic", "rich", "sqlite3", "starlette",
    "toktok", "typer", "uvicorn", "uvloop", "yaml",
}  # fmt: skip
HEAVY_FOR_COMMANDS = HEAVY - {"pydantic", "rich", "typer"}


def words(name: str) -> set[str]:
    """Return the words of a CamelCase or snake_case name, in the singular."""
    found = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return {word.lower() for word in found} | {word.lower().removesuffix("s") for word in found}


def test_every_file_has_one_subject():
    """A file fits into one head: 400 lines at most."""
    sized = {path: text(path).count("\n") for path in (*code(), *code(suffix=".c"))}
    assert len(sized) > 20
    assert {path: lines for path, lines in sized.items() if lines > MOST_LINES} == {}


def test_names_say_what_a_thing_is():
    """No class and no module hides behind a noun that could mean anything."""
    modules = [(path, path.stem) for path in code()]
    classes = [
        (path, node.name)
        for path in code()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef)
    ]
    assert len(classes) > 20
    assert [
        (str(path), name) for path, name in modules + classes if words(name) & BANNED_NOUNS
    ] == []


def test_a_banned_noun_is_found_in_any_spelling():
    """The rule above sees CamelCase, acronyms, snake_case and plurals."""
    for name in ("KeyManager", "HTTPHandler", "string_utils", "misc", "UserData"):
        assert words(name) & BANNED_NOUNS, name
    for name in ("Dataclass", "Informed", "Reservation", "metadata"):
        assert not words(name) & BANNED_NOUNS, name


def test_nothing_is_left_for_later():
    """No reminder lands: it is done, or it is an issue."""
    reminder = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")
    assert [
        str(path) for path in (*code(), *code(suffix=".c")) if reminder.search(text(path))
    ] == []


def test_every_silenced_warning_names_its_code_and_its_reason():
    """Whoever silences a tool says which finding and why."""
    silenced = re.compile(r"#\s*(noqa|type: ignore|pyright: ignore|pragma: no)\b(.*)")
    reasoned = re.compile(
        r"(noqa: [A-Z0-9, ]+|type: ignore\[[\w, -]+\]|pyright: ignore\[[\w, -]+\]|pragma: no \w+)"
        r"\s*(#|-|—)\s*\S+"
    )
    unreasoned = [
        f"{path}:{number}"
        for path in code()
        for number, line in enumerate(text(path).splitlines(), 1)
        if (found := silenced.search(line)) and not reasoned.search(found.group())
    ]
    assert [place for place in unreasoned if "shape/test_architecture" not in place] == []


def test_every_module_says_what_it_is_for():
    """A module opens with one sentence on its purpose."""
    modules = code()
    assert len(modules) > 20
    assert [str(path) for path in modules if not ast.get_docstring(parsed(path))] == []


def test_every_test_states_its_promise():
    """A test's docstring is the promise in a user's words."""
    tests = [
        (path, node)
        for path in code("tests")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    ]
    assert len(tests) > 20
    assert [f"{path}: {node.name}" for path, node in tests if not ast.get_docstring(node)] == []


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after the statement."""
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    unmeasured = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=unmeasured,
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_headworks_loads_nothing_heavy():
    """`import headworks` costs next to nothing: what a program does not use, it does not load."""
    loaded = loaded_by("import headworks")
    assert "headworks" in loaded
    assert loaded & HEAVY == set()


def test_the_command_line_loads_only_what_the_command_needs():
    """`headworks --help` starts at once: every command pays only for itself."""
    loaded = loaded_by("import headworks.cli")
    assert "headworks" in loaded
    assert loaded & HEAVY_FOR_COMMANDS == set()


def test_no_file_names_a_package_registry_or_a_path_of_one_machine():
    """A clone works anywhere: where packages come from, and where it lies, is not its business."""
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "npmjs" + ".com")
    places = ("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/")
    assert len(files()) > 50
    named = {
        str(path): [word for word in (*hosts, *places) if word in text(path)] for path in files()
    }
    assert {path: found for path, found in named.items() if found} == {}
