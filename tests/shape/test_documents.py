"""Promises to whoever reads the documents: they say what the software does."""

import functools
import importlib
import json
import pkgutil
import re
import shlex
from pathlib import Path

import pytest
import typer.main

import headworks
from headworks.core.wire import retry_headers
from headworks.errors import CallError, NoRouteLeft
from headworks.types import Call, Request
from tests.shape.tree import ROOT, blocks, documents, files, text

ERRORS = Path("docs/errors.md")
GUIDES = [path for path in documents() if path.parts[0] != "tests"]
ARCHITECTURE_LINES = 150
ADR_WORDS = 450


@functools.cache
def leaves() -> tuple[type[CallError], ...]:
    """Return every error of the product that has a code of its own, wherever it is defined."""
    for module in pkgutil.walk_packages(headworks.__path__, "headworks."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    waiting: list[type[CallError]] = [CallError]
    found: list[type[CallError]] = []
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        if error.code and error.__module__.startswith("headworks."):
            found.append(error)
    return tuple(found)


def documented() -> dict[str, tuple[int, str, str]]:
    """Return status, type and advice of every code in the tables of errors.md."""
    row = re.compile(r"^\| `(\w+)` \| (\d{3}) \| `(\w+)` \| .+ \| .+ \| (.+) \|$", re.MULTILINE)
    return {
        code: (int(status), kind, advice)
        for code, status, kind, advice in row.findall(text(ERRORS))
    }


def test_every_error_has_a_code_of_its_own():
    """A program can tell any two of our errors apart by `code`."""
    codes = [error.code for error in leaves()]
    assert len(codes) > 20
    assert sorted(codes) == sorted(set(codes))


def test_every_error_is_documented_as_it_is():
    """Each code is in docs/errors.md with its true status, type and advice, and nothing else is."""
    expected = {error.code: (error.status, error.type) for error in leaves()}
    assert {code: facts[:2] for code, facts in documented().items()} == expected


def should_retry(error: CallError, attempts: int) -> bool:
    """Return what the caller is told after so many attempts."""
    call = Call("id", Request("POST", "/v1/chat/completions"), 0.0, 0.0, attempts=attempts)
    return dict(retry_headers(error, call))[b"x-should-retry"] == b"true"


def test_what_may_be_repeated_is_documented():
    """Where the documents say that repeating helps, the response says so too, and the reverse."""
    advice = {(True, True): "yes", (True, False): "perhaps", (False, False): "no"}
    for leaf in leaves():
        error = leaf([]) if issubclass(leaf, NoRouteLeft) else leaf()
        told = should_retry(error, attempts=1), should_retry(error, attempts=3)
        assert documented()[leaf.code][2] == advice[told], leaf.code


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", text(path), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading).strip().lower() for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("path", GUIDES, ids=str)
def test_links_lead_somewhere(path: Path):
    """Every link inside the documentation finds its page and its heading."""
    prose = re.sub(r"```.*?```", "", text(path), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"(https?|mailto):", target):
            continue
        name, _, anchor = target.partition("#")
        found = (ROOT / path.parent / name).resolve() if name else ROOT / path
        assert found.exists(), f"{path}: {target}"
        if anchor:
            assert anchor in anchors(found.relative_to(ROOT)), f"{path}: {target}"


def models_to_be_retired() -> set[str]:
    """Return the models that have a shutdown date, past or announced."""
    catalogue = json.loads(text(Path("src/headworks/catalog/models.json")))
    return {model["id"] for model in catalogue["models"] if "shutdown" in model}


def test_examples_name_no_model_that_is_going_away():
    """Whoever copies an example gets a model that lives: no announced shutdown date."""
    retiring = models_to_be_retired()
    assert len(retiring) > 20
    shown = [*GUIDES, *(path for path in files() if path.suffix in {".yaml", ".yml", ".template"})]
    name = re.compile(r"(?<![\w.-])(?:gpt|o\d|chatgpt|text|tts|whisper|dall|codex)[\w.-]*\w")
    found = {str(path): sorted(set(name.findall(text(path))) & retiring) for path in shown}
    assert {path: names for path, names in found.items() if names} == {}


def shell_lines() -> list[tuple[Path, str]]:
    """Return every command line in the documents' shell blocks, prompts and comments removed."""
    found = []
    for path in GUIDES:
        for block in blocks(path, "sh"):
            joined = block.replace("\\\n", " ")
            found += [(path, line.partition(" #")[0].strip()) for line in joined.splitlines()]
    return [(path, line) for path, line in found if line]


def test_make_targets_in_the_documents_exist():
    """Every `make …` in the documents works."""
    targets = set(re.findall(r"^([a-z-]+):.*##", text(Path("Makefile")), re.MULTILINE))
    named = {word for _, line in shell_lines() for word in re.findall(r"\bmake ([a-z-]+)", line)}
    assert {"demo", "test", "check", "bench", "docs"} <= targets
    assert named >= {"demo", "test"}
    assert named <= targets


def commands() -> dict[str, object]:
    """Return every command of the command line by its full name, as `keys create`."""
    from headworks.cli import app

    found: dict[str, object] = {}
    waiting = [("", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop()
        inner = getattr(command, "commands", None)
        if inner is None:
            found[name] = command
        else:
            waiting += [(f"{name} {word}".strip(), one) for word, one in inner.items()]
    return found


def test_every_command_explains_itself_by_an_example():
    """`--help` of every command shows how it is really used."""
    found = commands()
    assert len(found) > 8
    for name, command in found.items():
        shown = str(getattr(command, "help", "")) + str(getattr(command, "epilog", ""))
        assert f"headworks {name}" in shown, f"`headworks {name} --help` has no example"


def test_commands_in_the_documents_exist():
    """Every `headworks …` in the documents is a command, and every option is one that it has."""
    found = commands()
    lines = [
        (path, line[line.index("headworks ") :])
        for path, line in shell_lines()
        if re.search(r"(^|[ /])headworks ", line)
    ]
    assert len(lines) > 5
    for path, line in lines:
        words = shlex.split(re.split(r"[|&>]", line)[0])[1:]
        plain = [word for word in words if not word.startswith("-")]
        names = [name for name in found if plain[: len(name.split())] == name.split()]
        assert names, f"{path}: {line}"
        options = {opt for parameter in found[names[0]].params for opt in parameter.opts}  # type: ignore[attr-defined]  # a click command
        given = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert given <= options | {"--help"}, f"{path}: {line}"


def test_the_architecture_fits_on_a_few_pages():
    """ARCHITECTURE.md can be read in one sitting: 150 lines at most."""
    assert text(Path("ARCHITECTURE.md")).count("\n") <= ARCHITECTURE_LINES


def test_decisions_are_short_and_listed():
    """Each decision is half a page, says its status, and is listed in the index of decisions."""
    decisions = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    index = text(Path("docs/decisions/index.md"))
    assert len(decisions) > 5
    for path in decisions:
        content = path.read_text(encoding="utf-8")
        assert f"]({path.name})" in index, path.name
        assert "## Decision" in content, path.name
        assert "## Consequences" in content, path.name
        assert len(content.split()) <= ADR_WORDS, path.name


def test_every_page_can_be_found():
    """What is written for users is in the navigation of the documentation."""
    listed = set(re.findall(r"[\w/-]+\.md", text(Path("mkdocs.yml"))))
    pages = {path.relative_to("docs").as_posix() for path in GUIDES if path.parts[0] == "docs"}
    assert pages <= listed
