"""What `fda.measures` declares: every figure's function exists, has its words, and no key or name stands twice."""

import subprocess
import sys
from pkgutil import resolve_name

import pytest

from fda.measures import FIGURES, MEASURES, SCALAR_KEYS
from fda.report.run_numbers import READERS


@pytest.mark.parametrize(("measure", "figure"), FIGURES.values(), ids=FIGURES)
def test_a_declared_figure_has_its_function_its_numbers_and_its_words(measure, figure):
    assert callable(resolve_name(f"fda.figures.{figure.draw}"))
    assert figure.reads in READERS and measure.sentence.endswith(".")
    assert figure.alt and not figure.alt.endswith(".")


def test_no_key_and_no_figure_stands_twice():
    assert len({measure.key for measure in MEASURES}) == len(MEASURES)
    assert len(FIGURES) == sum(measure.figure is not None for measure in MEASURES)
    assert len(set(SCALAR_KEYS)) == len(SCALAR_KEYS)


def test_importing_the_measures_imports_no_torch():
    code = "import sys, fda.measures; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
