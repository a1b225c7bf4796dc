# make demo       the whole pipeline on recorded traces, with a killed worker in the middle (about a minute)
# make run        the pipeline in the foreground, spans kept in .span-buffer/
# make chaos      100,000 spans through each of three brokers, 300 kills each (half an hour; CHAOS="--broker redis": one)
# make prove      every order of events that small cases allow, and random ones for ten minutes
# make failover   Sentinel and Cluster, the primary killed again and again (about ten minutes)
# make bench      what a span costs, against floors of the same run (ten minutes; BENCH="--short", BENCH="--against REF")
# make test       all tests but the long proofs
# make check      ruff, mypy, known vulnerabilities, and the tests that need no Redis
#
# Each makes .venv when there is none. PYTHON=/path/to/python chooses the Python it is made with.

.DEFAULT_GOAL := help
.PHONY: help demo run prove chaos failover bench test check install
.DELETE_ON_ERROR:

# 3.12 and 3.11 first: for them an embedded Redis comes with the install.
CANDIDATES := python3.12 python3.11 python3 python3.13 python3.14
VENV := .venv
STAMP := $(VENV)/.installed

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: $(STAMP)
	@$(VENV)/bin/python -m demo

run: $(STAMP)
	@$(VENV)/bin/python -m embedded.run

prove: $(STAMP)
	@$(VENV)/bin/python -m prove

failover: $(STAMP)
	@$(VENV)/bin/python -m failover $(FAILOVER)

bench: $(STAMP)
	@$(VENV)/bin/python -m benchmarks $(BENCH)

chaos: $(STAMP)
	@$(VENV)/bin/python -m chaos $(CHAOS)

test: $(STAMP)
	@$(VENV)/bin/python -m pytest -n 3 --dist worksteal

check: $(STAMP)
	@$(VENV)/bin/python -m ruff check .
	@$(VENV)/bin/python -m ruff format --check .
	@$(VENV)/bin/python -m mypy
	@$(VENV)/bin/python .ci/audit
	@$(VENV)/bin/python -m pytest tests/unit

install: $(STAMP)

$(STAMP): pyproject.toml
	@set -eu; \
	for python in $${PYTHON:-$(CANDIDATES)}; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	  echo "No Python >= 3.11 found (looked for: $${PYTHON:-$(CANDIDATES)}). Install one, or: make PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	echo "Installing into $(VENV) with $$("$$found" -V) (once, about a minute)"; \
	$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || "$$found" -m venv --clear $(VENV); \
	$(VENV)/bin/python -m pip install --disable-pip-version-check -e '.[dev]'; \
	touch $@
