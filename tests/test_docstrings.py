"""Docstrings of everything public, the extension API included, are whole: numpydoc with shapes."""

import ast
import importlib
import inspect
import re
import textwrap
from dataclasses import is_dataclass

import pytest

# Modules whose public classes and functions users call or extend.
SURFACE = (
    "skelbo",
    "skelbo.callbacks",
    "skelbo.display",
    "skelbo.likelihoods",
    "skelbo.meta",
    "skelbo.models",
    "skelbo.em.theta",
    "skelbo.gaussian.covariance",
    "skelbo.gaussian.block_density",
    "skelbo.inference.posteriors.posterior",
    "skelbo.likelihoods.component_likelihood",
    "skelbo.likelihoods.support",
    "skelbo.models.interface",
    "skelbo.models.differentiable_model",
    "skelbo.models.joint_density",
    "skelbo.models.profile",
    "skelbo.neural.model.latent_family",
)
ARRAY = re.compile(r"\b(ndarray|Tensor|array-like|array)\b")
SECTION = re.compile(r"^(\w[\w ]*)\n-+$", re.MULTILINE)
ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: : (.+))?$")


def is_ours(thing):
    return getattr(thing, "__module__", None) and thing.__module__.partition(".")[0] == "skelbo"


def public_things():
    """Return the public classes and functions by their names."""
    found = {}
    for module in map(importlib.import_module, SURFACE):
        names = getattr(module, "__all__", [name for name in vars(module) if name[0] != "_"])
        for name in names:
            thing = getattr(module, name)
            listed = (
                hasattr(module, "__all__") or getattr(thing, "__module__", "") == module.__name__
            )
            if listed and is_ours(thing) and (inspect.isclass(thing) or inspect.isfunction(thing)):
                found[f"{thing.__module__}.{thing.__qualname__}"] = thing
    return found


def function_of(attribute):
    """Return the function behind a method of a class; None for other attributes."""
    while not inspect.isfunction(attribute):
        inner = next(
            (
                vars(attribute)[name]
                for name in ("fn", "__func__", "__wrapped__", "func")
                if name in getattr(attribute, "__dict__", {})
            ),
            getattr(attribute, "__func__", None),
        )
        if inner is None:
            return None
        attribute = inner
    return inspect.unwrap(attribute)


def public_functions():
    """Return the public functions and methods, each where it is defined, by their names."""
    found = {}
    for thing in public_things().values():
        if inspect.isfunction(thing):
            found[f"{thing.__module__}.{thing.__qualname__}"] = (None, thing)
            continue
        for owner in thing.__mro__:
            if not is_ours(owner):
                continue
            for name, attribute in vars(owner).items():
                function = None if name[0] == "_" else function_of(attribute)
                if function is not None and is_ours(function):
                    found[f"{owner.__module__}.{owner.__qualname__}.{name}"] = (owner, function)
    return found


def sections_of(doc):
    """Return the summary of a docstring, and its sections by name."""
    parts = SECTION.split(inspect.cleandoc(doc or ""))
    return parts[0].strip(), dict(zip(parts[1::2], parts[2::2], strict=True))


def entries_of(section):
    """Return the types by name of a section of parameters."""
    lines = [line for line in section.replace("\\\n", " ").splitlines() if line]
    found = {}
    for match in map(ENTRY.match, (line for line in lines if line[0] != " ")):
        if match:
            for name in match[1].split(", "):
                found[name] = match[2] or ""
    return found


def answers(function):
    """Return whether a function returns something."""
    annotation = function.__annotations__.get("return", "")
    if annotation in (None, "None"):
        return False
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    own = [node for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value]
    return bool(annotation) or bool(own)


def arguments_of(function):
    names = {inspect.Parameter.VAR_POSITIONAL: "*{}", inspect.Parameter.VAR_KEYWORD: "**{}"}
    parameters = list(inspect.signature(function).parameters.values())
    return [
        names.get(p.kind, "{}").format(p.name) for p in parameters if p.name not in ("self", "cls")
    ]


def faults_of(function):
    """Return what a docstring lacks."""
    summary, sections = sections_of(function.__doc__)
    faults = []
    first = summary.partition("\n\n")[0]
    if not (first.endswith(".") and first[0].isupper()):
        faults.append(f"no summary sentence: {first!r}")
    entries = entries_of(sections.get("Parameters", ""))
    missing = [name for name in arguments_of(function) if name not in entries]
    if missing:
        faults.append(f"parameters without an entry: {missing}")
    if set(entries) - set(arguments_of(function)):
        faults.append(f"no such parameters: {set(entries) - set(arguments_of(function))}")
    if answers(function) and not {"Returns", "Yields"} & set(sections):
        faults.append("no Returns")
    answer = entries_of(sections.get("Returns", ""))
    types = [*entries.values(), *answer.values(), *(name for name in answer if not answer[name])]
    bare = [k for k in types if ARRAY.search(k) and "shape" not in k and k[:5] != "dict "]
    if bare:
        faults.append(f"arrays without a shape: {bare}")
    return faults


def is_documented_above(owner, function):
    """Return whether a method overrides one whose docstring is whole."""
    for base in () if owner is None else owner.__mro__[1:]:
        above = function_of(vars(base).get(function.__name__))
        if above is not None and is_ours(above) and not faults_of(above):
            return set(arguments_of(above)) >= set(arguments_of(function))
    return False


@pytest.mark.parametrize("name", public_functions())
def test_function(name):
    owner, function = public_functions()[name]
    if is_documented_above(owner, function):
        assert sections_of(function.__doc__)[0] or not function.__doc__
        return
    assert faults_of(function) == []


@pytest.mark.parametrize("name", [n for n, t in public_things().items() if inspect.isclass(t)])
def test_class(name):
    thing = public_things()[name]
    summary, sections = sections_of(thing.__doc__)
    assert summary.partition("\n\n")[0].endswith(".")
    protocol = getattr(thing, "_is_protocol", False)
    warning = issubclass(thing, Warning)
    if not (inspect.isabstract(thing) or protocol or warning):
        assert ">>> " in sections.get("Examples", "")
    if "__init__" in vars(thing) and not (protocol or warning):
        where = "Attributes" if is_dataclass(thing) else "Parameters"
        documented = entries_of(sections.get(where, ""))
        assert [name for name in arguments_of(thing.__init__) if name not in documented] == []


def test_the_surface_is_walked():
    names = public_functions()
    assert len(names) > 200
    assert "skelbo.mixins.scores.DensityScores.score_samples" in names
    assert "skelbo.likelihoods.likelihood.Likelihood.log_kernel" in names
    assert "skelbo.mixins.scores.DensityScores.icl" in names
