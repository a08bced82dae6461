# make demo   creates the environment and opens the dashboard on the embedded zoo
# make check  creates the environment and runs the linter, the formatter, the import contract, the types and the fast tests
# make test   the same with all tests (needs a Chromium)
# The environment is made once and made again only when a file of requirements changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
APT := $(if $(filter 0,$(shell id -u)),apt-get,sudo apt-get)

# Containers often set it, and then each process that a test starts compiles every module anew.
unexport PYTHONDONTWRITEBYTECODE

# A file's tests stay on one worker, so that they share a server or a zoo; tests/conftest.py puts long files first.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

define STATIC
$(BIN)/ruff check .
$(BIN)/ruff format --check .
$(BIN)/lint-imports
endef

.PHONY: demo check test env chromium

demo: env $(VENV)/.measured
	$(BIN)/python -m streamlit run app.py

check: env
	$(STATIC)
	$(BIN)/pyright
	$(PYTEST) --fast

# Types are checked while the tests start: half a minute on one core.
test: env chromium
	$(STATIC)
	$(BIN)/pyright & types=$$!; $(PYTEST); tests=$$?; wait $$types && exit $$tests

env: $(VENV)/.installed

$(VENV)/.installed: requirements.txt requirements-dev.txt tests/requirements-no-deps.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(APT) install -y python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps -r tests/requirements-no-deps.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

# Once: what the main job will take here, which also compiles the step of construction for all later runs (some 40 seconds).
$(VENV)/.measured: $(VENV)/.installed
	-$(BIN)/python -m fda estimate --zoo demo --methods pretrained,individual,average,ta,tsv,fda:pretrained,fda:ta,fda:tsv
	touch $@

# The browser tests drive a real Chromium. Where apt-get is not the package manager, install one by hand.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	  || { command -v apt-get >/dev/null && $(APT) update -qq && $(APT) install -y -qq --no-install-recommends chromium; } \
	  || echo "no Chromium found: the browser tests will be skipped"
