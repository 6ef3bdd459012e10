"""What README and the guide show runs, and examples in docstrings give what they say."""

import ast
import doctest
import os
import re
import runpy
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_EXAMPLES = sorted(file for file in SOURCE.rglob("*.py") if re.search(r"^ +>>> ", file.read_text(), re.MULTILINE))


def blocks(file, language):
    """The code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", file.read_text(), flags=re.MULTILINE | re.DOTALL)


def module_of(file):
    return ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("file", WITH_EXAMPLES, ids=module_of)
def test_examples_of_docstrings_run(file):
    failed, tried = doctest.testmod(import_module(module_of(file)), optionflags=doctest.ELLIPSIS)
    assert tried > 0
    assert failed == 0


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_python_of_pages_parses_and_imports_what_there_is(file):
    for block in blocks(file, "python"):
        tree = ast.parse(block)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                module = import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)


def test_readme_measures_as_the_example_does(capsys):
    """The example prints what README and guide show, to what training on another processor may change."""
    runpy.run_path(str(ROOT / "examples" / "measure_network.py"), run_name="__main__")
    told = capsys.readouterr().out
    source = (ROOT / "examples" / "measure_network.py").read_text()
    [readme] = blocks(ROOT / "README.md", "text")
    [guide] = blocks(ROOT / "docs" / "measure.md", "text")
    assert guide.startswith(readme)
    for line in blocks(ROOT / "README.md", "python")[0].splitlines()[1:]:
        assert line.partition("  #")[0].strip() in source, "README and the example measure differently"
    number = r"\d+(?:\.\d+)?"
    for shown, printed in zip(guide.splitlines(), told.splitlines(), strict=True):
        assert re.sub(number, "N", shown) == re.sub(number, "N", printed)
    shown, printed = ([float(found) for found in re.findall(r"\d\.\d+", text)] for text in (guide, told))
    assert printed == pytest.approx(shown, abs=0.1)


def test_network_that_memorizes_falls_sooner_in_the_example(tmp_path):
    example = runpy.run_path(str(ROOT / "examples" / "compare_networks.py"))
    curves = example["main"](tmp_path / "figure.png")
    true, shuffled = (curves[f"{name} labels"] for name in ("true", "shuffled"))
    assert min(true.accuracy[:, 0].min(), shuffled.accuracy[:, 0].min()) > 0.98
    assert true.auc.min() > shuffled.auc.max()
    assert (tmp_path / "figure.png").is_file()


@pytest.mark.skipif(
    shutil.which("mkdocs", path=str(Path(sys.executable).parent)) is None, reason="make docs installs it"
)
def test_guide_is_built_without_a_request_to_the_outside(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert {page.name for page in pages} >= {"index.html", "measure.html", "callback.html", "api.html"}
    loaded = re.compile(r"<(?:script|img|iframe)[^>]* src=\"?https?:|<link[^>]* href=\"?https?://[^>]*stylesheet")
    assert [page.name for page in pages if loaded.search(page.read_text())] == []
