# Needs Python 3.11 or newer, make and a package index. `make run`, then read what it prints.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
TOOLS := $(shell $(PYTHON) -c "import tomllib; print(*('\"%s\"' % need for need in tomllib.load(open('pyproject.toml', 'rb'))['dependency-groups']['dev']))" 2>/dev/null)

# Vendors' software that tests/interop runs against the hub: each built from its pinned list into .peers/.
PEERS := $(patsubst tests/interop/peers/%/,.peers/%/.ready,$(dir $(wildcard tests/interop/peers/*/requirements.txt tests/interop/peers/*/package.json)))

.PHONY: run test check soak bench peers clean
.DEFAULT_GOAL := run

run: $(READY)
	@exec $(BIN)/hub dev

test: $(READY) $(if $(filter all,$(HUB_TEST_REQUIRE)),peers)
	@$(BIN)/python -m pytest -m "not soak" -n 2 --dist worksteal

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/mypy --strict hub adapters

soak: $(READY)
	@$(BIN)/python -m pytest -m soak --timeout 3600

bench: $(READY)
	@$(BIN)/python -m bench

peers: $(PEERS)

# Made from nothing when its list changes; the mark is set last.
.peers/%/.ready: tests/interop/peers/%/requirements.txt
	@rm -rf $(@D) && $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip --quiet --disable-pip-version-check install -r $<
	@touch $@

.peers/%/.ready: tests/interop/peers/%/package.json
	@rm -rf $(@D) && mkdir -p $(@D) && cp $< $(@D)/
	@cd $(@D) && npm install --silent --no-audit --no-fund --no-package-lock --no-update-notifier
	@touch $@

.venv: $(READY)

# Made again when what it was made from changes. The mark is set last: a broken installation is not a whole one.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "Python 3.11 or newer is needed; try make PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -c constraints.txt -e '.[all]' $(TOOLS)
	@touch $@

clean:
	@rm -rf $(VENV) .peers build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find hub adapters tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
