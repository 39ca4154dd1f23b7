"""Layers lie over each other by simple laws."""

from hypothesis import given
from hypothesis import strategies as st

from headworks.config.layers import lay_variables, merge, without_nulls
from headworks.config.tree import Node, Place, Problem, flatten

HERE = Place("f.yaml", 1)
scalars = st.none() | st.booleans() | st.integers(0, 9) | st.text("ab", max_size=2)
names = st.sampled_from("abc")
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3)
)
mappings = st.dictionaries(names, trees, max_size=3)
single = st.sampled_from("xyz")
present = st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=2)
sections = st.recursive(
    st.dictionaries(single, present, max_size=3),
    lambda inner: st.builds(
        lambda a, b: {**a, **b},
        st.dictionaries(names, inner, max_size=2),
        st.dictionaries(single, present, max_size=2),
    ),
)
"""Layers in which a name is always a section or always a value, as in a real schema."""


def node(value):
    if isinstance(value, dict):
        return Node({name: node(child) for name, child in value.items()}, HERE)
    return Node([node(item) for item in value] if isinstance(value, list) else value, HERE)


def plain(tree: Node):
    return flatten(tree).values


def has_null(value):
    if isinstance(value, dict):
        return any(child is None or has_null(child) for child in value.values())
    return False


@given(sections, sections, sections)
def test_layers_can_be_grouped_at_will(a, b, c):
    """It makes no difference whether two layers are joined before or after a third."""
    left = merge(merge(node(a), node(b)), node(c))
    right = merge(node(a), merge(node(b), node(c)))
    assert plain(left) == plain(right)


@given(mappings)
def test_an_empty_layer_changes_nothing(a):
    """A file that says nothing has no effect, and one laid over itself has none either."""
    assert plain(merge(node(a), node({}))) == a
    assert plain(merge(node({}), node(a))) == a
    assert plain(merge(node(a), node(a))) == a


@given(mappings, mappings)
def test_the_upper_layer_wins(a, b):
    """What the upper layer says holds; what it does not name stays; null removes."""
    merged = plain(without_nulls(merge(node(a), node(b))))
    for name, value in a.items():
        if name not in b and value is not None and not isinstance(value, dict):
            assert merged[name] == value
    for name, value in b.items():
        if value is None:
            assert name not in merged
        elif not isinstance(value, dict):
            assert merged[name] == value
    assert not has_null(merged)


@given(st.dictionaries(st.text("AB_", min_size=1, max_size=6), st.text("ab1:", max_size=3)), trees)
def test_variables_never_break_a_tree(variables, tree):
    """Whatever variables are set, each is laid over the tree or named in a problem."""
    problems: list[Problem] = []
    environ = {f"HEADWORKS__{name}": value for name, value in variables.items()}
    plain(lay_variables(node(tree), environ, problems))
    assert {problem.place.source for problem in problems} <= environ.keys()


def test_a_variable_reaches_names_and_items():
    """A variable sets one value, however deep, and leaves the rest."""
    base = node({"a": {"b": 1, "c": 2}, "l": [{"x": 1}, {"x": 2}]})
    environ = {"HEADWORKS__A__B": "7", "HEADWORKS__L__1__X": "'8'", "HEADWORKS__NEW__ONE": "true"}
    problems: list[Problem] = []
    assert plain(lay_variables(base, environ, problems)) == {
        "a": {"b": 7, "c": 2},
        "l": [{"x": 1}, {"x": "8"}],
        "new": {"one": True},
    }
    assert not problems
