"""The page about the steps of a call says what is recorded, of all the steps that there are."""

import importlib.util
import json
import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs/budget-per-call.md").read_text()
_BUDGETS = json.loads((_ROOT / "bench/steps.json").read_text())
_ROW = re.compile(r"^\| (\w+) \|.*\| ([\d,]+)[^|]*\|$", re.MULTILINE)


def the_map():
    """Return the table of steps, which stands beside the tests."""
    spec = importlib.util.spec_from_file_location("steps_map", _ROOT / "bench/steps_map.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_budgets_that_hold():
    """Its tables are those of one recorded interpreter, whole and unchanged."""
    interpreter = re.search(r"<!-- steps:begin -->\n(.+)\.\n", _PAGE)
    assert interpreter is not None
    shown = [(name, int(bound.replace(",", ""))) for name, bound in _ROW.findall(_PAGE)]
    recorded = _BUDGETS[interpreter[1]]
    assert shown
    assert sorted(shown) == sorted(
        (name, bound) for table in recorded.values() for name, bound in table.items()
    )


def test_every_budget_is_of_a_step():
    """None is left of a step that is called otherwise now."""
    names = {name for record in _BUDGETS.values() for table in record.values() for name in table}
    assert names
    assert names <= set(the_map().NAMES)


def test_whose_a_function_is_names_what_exists():
    """A file that was renamed takes its place in the table along, or its cost would go elsewhere."""
    package = _ROOT / "src/headworks"
    for _, _, places in the_map().STEPS:
        for place in places:
            file, _, name = place.partition("|")
            found = list(package.glob(f"{file}*"))
            assert found, f"{place}: there is no such file"
            assert not name or f"def {name.rpartition('.')[2]}(" in found[0].read_text(), place


def test_a_function_belongs_to_the_closest_place():
    """A function that is named goes before its file; what is in no place, to its caller."""
    steps = the_map()
    keys = f"/anywhere{steps.PACKAGE}stores/keys.py"
    assert steps.NAMES[steps.step_of(keys, "SqliteKeys._poll")] == "aside"
    assert steps.NAMES[steps.step_of(keys, "SqliteKeys.authenticate")] == "authenticate"
    assert steps.step_of("/usr/lib/python3/contextlib.py", "closing.__exit__") == -1
    assert steps.step_of(f"/anywhere{steps.PACKAGE}core/endpoints.py", "endpoint") == -1
