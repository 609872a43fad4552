# Everything runs in .venv.  `make` alone lists the targets.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --constraint constraints/cpu.txt --editable
DEMO := runs/demo

.PHONY: help demo test lint package clean compiler

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /: /'

demo: compiler .venv/torch.stamp  ## make the example decoder faster, and say by how much
	rm -rf $(DEMO)
	@# 1 says that nothing beat the baseline, as can happen on a busy machine; the report says why.
	$(BIN)/kernelite optimize examples/llama.py:build --out $(DEMO) --budget-seconds 60 || test $$? -eq 1
	@echo "The report: $(DEMO)/report.html (open it in a browser)"

test: compiler lint  ## everything that a change must pass
	$(BIN)/pytest -q

lint: .venv/dev.stamp  ## format, lint, types, Dockerfile
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile

package: .venv/dev.stamp  ## sdist, wheel from it, and its import in a clean environment
	rm -rf dist build/clean
	$(BIN)/python -m build --outdir dist . > dist.log 2>&1 || { cat dist.log; exit 1; }
	rm dist.log
	$(BIN)/python .ci/wheel_files.py dist/*.whl
	$(BIN)/python -m venv build/clean
	build/clean/bin/pip install --quiet dist/*.whl
	build/clean/bin/python -I -c "import kernelite.cli"
	rm -rf build/clean

clean:  ## remove what the other targets made
	rm -rf .venv build dist runs .mypy_cache .ruff_cache .pytest_cache src/*.egg-info

compiler:
	@command -v g++ > /dev/null || { echo "Kernelite builds its kernels with g++; install it: apt-get install g++" >&2; exit 3; }

# pip, not python: a machine without ensurepip leaves a .venv/bin/python behind.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Kernelite needs Python 3.11 or newer; say which: make PYTHON=python3.12 ..." >&2; exit 3; }
	$(PYTHON) -m venv .venv

.venv/torch.stamp: pyproject.toml constraints/cpu.txt | $(BIN)/pip
	$(INSTALL) '.[torch]'
	@touch $@

.venv/dev.stamp: pyproject.toml constraints/cpu.txt | $(BIN)/pip
	$(INSTALL) '.[dev]'
	@touch $@ .venv/torch.stamp
