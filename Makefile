# make test: the environment, then lint, and types beside the tests.    make demo: from a fresh clone to an ensembled network.
# make docs: the documentation as a site, in site/.
# make torture: file calls that fail, power cuts, kills, buckets, hostile inputs (docs/reliability.md).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One process more than CPUs, since some tests wait for services: on two CPUs 7:28 min instead of 8:56.
TESTERS ?= $(shell expr $$(nproc) + 1)
unexport PYTHONDONTWRITEBYTECODE # of an image: tests start Python often

.PHONY: env test torture demo docs format clean

env: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

test: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "$(BIN)/mypy, beside $(BIN)/pytest -n $(TESTERS) --dist worksteal"
	@$(BIN)/mypy >$(VENV)/types.log 2>&1 & types=$$!; trap 'kill $$types 2>/dev/null' INT TERM; \
	$(BIN)/pytest -n $(TESTERS) --dist worksteal; tests=$$?; \
	wait $$types; types=$$?; cat $(VENV)/types.log; exit $$((tests | types))

torture: env
	$(BIN)/python -m tests.torture all $(if $(MINUTES),--minutes $(MINUTES)) --seed $(or $(SEED),0)
	$(BIN)/python -m tests.torture.buckets --kills 20 --outages 3 --seed $(or $(SEED),0)
	$(BIN)/python -m tests.torture.hostile
	$(BIN)/python -m tests.torture.fuzz --minutes $(or $(MINUTES),60) --seed $(or $(SEED),0)

demo: env
	$(BIN)/spectral-prep convert --dataset digits --q 4 --out demo/digits-q4
	$(BIN)/spectral-train --shard all --data demo/digits-q4 --run demo/run
	$(BIN)/spectral-ensemble evaluate demo/run
	$(BIN)/spectral-prep show demo/digits-q4 --rows 8 --out demo/rows.png --quiet
	$(BIN)/spectral-ensemble report demo/run --out demo/report --quiet
	@echo
	@echo "Picture  demo/rows.png"
	@echo "Report   demo/report/report.html"
	@echo "Try next, on images of your own in photos/CLASS/:"
	@echo "  $(BIN)/spectral-prep convert --dataset folder --source photos --q 16 --size 224"
	@echo "  $(BIN)/spectral-train --shard all --data spectral/photos-q16 --run runs/photos"
	@echo "  $(BIN)/spectral-ensemble evaluate runs/photos"

docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo site build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
