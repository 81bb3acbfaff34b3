# Two commands, from a fresh clone: `make demo` and `make test`. Each builds .venv itself.
# Both need Python 3.11 or newer and a C compiler (for Triton).
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin

.PHONY: demo test check gpu bench frontend clean

demo: $(VENV)/.installed
	$(RUN)/profkit demo -o demo

test: $(VENV)/.installed check
	$(RUN)/pytest
	$(RUN)/pytest --nbval-lax notebooks -p no:cacheprovider

check: $(VENV)/.installed
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports

# On a machine with a GPU whose Python has everything installed: tests, benchmarks and notebooks in one go.
gpu:
	$(PYTHON) benchmarks/gpu.py

bench: $(VENV)/.installed
	$(RUN)/python benchmarks/columns.py
	$(RUN)/python benchmarks/magic.py
	$(RUN)/python benchmarks/footprint.py
	$(RUN)/python benchmarks/kv_plan.py
	$(RUN)/python benchmarks/sweep.py

# The widget's bundle; needs Node. The bundle is committed, so nobody else does.
frontend:
	cd profkit/views/frontend && npm ci && npm run build

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(RUN)/python -m ipykernel install --sys-prefix --name python3
	touch $@

clean:
	rm -rf $(VENV) demo profkit-runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
