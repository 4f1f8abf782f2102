"""The pages of the documentation: their code, their links, and what they list."""

import doctest
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from matplotlib import pyplot as plt

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"```(pycon|python)\n(.*?)```", flags=re.DOTALL)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
PAGES = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "docs").rglob("*.md")
    if BLOCK.search(path.read_text(encoding="utf-8"))
    and "_build" not in path.parts
    and path.name != "jobs.md"  # has tests of its own, which look at the answers
)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=map(str, PAGES))
def test_blocks_of_a_page(page, monkeypatch):
    monkeypatch.chdir(ROOT)  # pages read examples/data
    names, runner = {}, doctest.DocTestRunner(optionflags=FLAGS)
    for kind, code in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        if kind == "python":
            exec(code, names)
            continue
        test = doctest.DocTestParser().get_doctest(code, names, str(page), str(page), 0)
        assert not runner.run(test, clear_globs=False).failed
        names = test.globs
    plt.close("all")


def test_links_that_lead_nowhere_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#here">1</a> <a href="https://x.org/y">2</a>')
    (tmp_path / "b.html").write_text('<p id="here"><a href="a.html">1</a>')
    check = [sys.executable, str(ROOT / "docs" / "check_links.py"), str(tmp_path)]
    run = subprocess.run(check, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "0 broken links\n")
    (tmp_path / "b.html").write_text('<p><a href="c.html">1</a>')
    run = subprocess.run(check, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stdout == "a.html: b.html#here\nb.html: c.html\n2 broken links\n"


def reference():
    """Return (module, name) of every entry of the API reference."""
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    entries, module = [], ""
    for line in text.splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split()[-1]
        elif re.fullmatch(r"   \w+", line):
            entries.append((module, line.strip()))
    return entries


@pytest.mark.parametrize("wing", ["skelbo", "skelbo.display", "skelbo.meta", "skelbo.models"])
def test_every_public_name_is_in_the_reference(wing):
    public = {name for name in importlib.import_module(wing).__all__ if not name.startswith("__")}
    assert {name for module, name in reference() if module == wing} == public


def test_every_entry_of_the_reference_is_in_the_gallery():
    scripts = (ROOT / "examples").glob("plot_*.py")
    gallery = "\n".join(path.read_text(encoding="utf-8") for path in scripts)
    entries = reference()
    assert len(entries) > 30
    assert [name for _, name in entries if not re.search(rf"\b{name}\b", gallery)] == []


def test_the_page_on_installing_lists_the_extras_that_there_are():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    for_users = set(project["optional-dependencies"]) - {"test", "docs", "dev"}
    assert set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)) == for_users


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs" / "estimators").glob("*.md")), ids=lambda page: page.stem
)
def test_pages_of_estimators_answer_the_same_questions(page):
    text = page.read_text(encoding="utf-8")
    questions = ["Assumptions", "Generative process", "Inference", "What it answers"]
    for question in [*questions, "When not to use it"]:
        assert f"**{question}.**" in text, question
    assert "$" in text.split("**Generative process.**")[1].split("**Inference.**")[0]


def test_pages_have_examples():
    assert len(PAGES) >= 12


def test_links_of_pages_lead_to_files():
    link = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
    for path in (ROOT / "docs").rglob("*.md"):
        if "_build" in path.parts or "auto_examples" in path.parts:
            continue
        for target in link.findall(path.read_text(encoding="utf-8")):
            # A page of the gallery stands for its script.
            target = re.sub(r"auto_examples/(.+)", r"../examples/\1.py", target)
            place = path.parent / target
            assert place.exists() or place.with_suffix(".md").exists(), f"{path}: {target}"
