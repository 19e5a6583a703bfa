# `make` lists what there is to make. Everything is set up in .venv, once: a stamp in it is newer than what it was made of.

PYTHON ?= python3
ARGS ?=

# Test processes. Many tests wait for a Ray that they start, so two cores have enough to do for three.
WORKERS ?= 3

# Python versions that the packages in constraints.txt exist for; TensorFlow, which only training and the tests need,
# comes last to a new one.
PYTHONS := 3.10 3.11 3.12 3.13 3.14
TRAIN_PYTHONS := 3.10 3.11 3.12 3.13

ASSETS := caption_core/assets
SAMPLES := $(ASSETS)/photographs
DEMO := out/demo

export PIP_DISABLE_PIP_VERSION_CHECK := 1
VENV := .venv/bin/python
INSTALL := $(VENV) -m pip install --quiet -c constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint format typecheck clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

demo: .venv/.core  ## caption the sample photographs on a local Ray and show the captions
	@if [ -n "$$(find $(ASSETS) -newer $(DEMO) 2>/dev/null)" ]; then \
	    echo "==> another captioner, or other photographs, than in $(DEMO): beginning again"; rm -rf $(DEMO); fi
	@echo "==> captioning the photographs in $(SAMPLES)"
	@$(VENV) jobs/caption_batch.py --input $(SAMPLES) --output $(DEMO) --show 20

test: .venv/.full  ## run the tests (some of them: make test ARGS="-k search")
	@echo "==> running the tests"
	@$(VENV) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: .venv/.full  ## check style and format
	@echo "==> ruff"
	@$(VENV) -m ruff check .
	@$(VENV) -m ruff format --check .

format: .venv/.full  ## mend style and format
	@$(VENV) -m ruff check --fix .
	@$(VENV) -m ruff format .

typecheck: .venv/.full  ## check the types
	@echo "==> mypy"
	@$(VENV) -m mypy

clean:  ## remove .venv, caches and the demo's output
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info $(DEMO)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up -----------------------------------------------------------------------------------------------------------

AGAIN = run `make $(MAKECMDGOALS)` again
VERSION = $(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
HAS_VENV = $(shell "$(PYTHON)" -c 'import ensurepip, venv; print("yes")' 2>/dev/null)
VENV_VERSION = $(shell $(VENV) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

$(VENV):
	$(if $(VERSION),,$(error "$(PYTHON)" is not a Python here: on Debian or Ubuntu install python3 and python3-venv, then $(AGAIN)))
	$(if $(filter $(VERSION),$(PYTHONS)),,$(error "$(PYTHON)" is Python $(VERSION), and one of $(PYTHONS) is needed: name it, as in `make $(MAKECMDGOALS) PYTHON=python3.12`))
	$(if $(HAS_VENV),,$(error "$(PYTHON)" cannot make virtual environments: on Debian or Ubuntu install python$(VERSION)-venv, then $(AGAIN)))
	@echo "==> making .venv with Python $(VERSION)"
	@"$(PYTHON)" -m venv --clear .venv

.venv/.core: pyproject.toml constraints.txt $(VENV)
	@echo "==> installing Capstan and what captioning needs into .venv"
	@$(INSTALL) --editable .
	@touch $@

.venv/.full: pyproject.toml constraints.txt $(VENV)
	$(if $(filter $(VENV_VERSION),$(TRAIN_PYTHONS)),,$(error .venv has Python $(VENV_VERSION), which TensorFlow has no release for: run `make clean`, then `make $(MAKECMDGOALS) PYTHON=python3.13`))
	@echo "==> installing Capstan, TensorFlow and the tools of development into .venv"
	@$(INSTALL) --editable '.[coco,dev,train]'
	@touch .venv/.core $@
