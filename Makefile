# The same commands for people and for CI. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL ?= demo
SERVICE ?= http://127.0.0.1:33330
REPOSITORY ?= models/$(notdir $(MODEL))
AUDIT := .venv-audit
FUZZ := .venv-fuzz
PACKAGES := client export python_backend retrieval server benchmarks
SOURCES := client export python_backend retrieval server tests benchmarks

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Made anew only when what is installed has changed.
$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
		|| { echo "Python 3.11 or 3.12 is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

.PHONY: install
install: $(VENV)/installed ## Make .venv with everything for development

.PHONY: demo
demo: install ## Build the demo model, export it, start Triton and show it at work
	@$(BIN)/bgem3 demo-model
	@$(BIN)/bgem3 export demo --output models/demo --reuse
	@$(BIN)/bgem3 demo models/demo

.PHONY: demo-model
demo-model: install ## Build the demo model's checkpoint alone, and print where it is
	@$(BIN)/bgem3 demo-model

.PHONY: serve
serve: install ## Export and serve a model: make serve MODEL=BAAI/bge-m3 OPTIONS="--port 8080"
	@$(BIN)/bgem3 export $(MODEL) --output $(REPOSITORY) --reuse
	@exec $(BIN)/bgem3 serve $(REPOSITORY) $(OPTIONS)

.PHONY: test
test: install ## Run the tests: those without a server two at a time, then the others
	@status=0; \
	$(BIN)/python -m pytest -m "not live" --numprocesses 2 --dist loadfile || status=1; \
	$(BIN)/python -m pytest -m live || status=1; \
	exit $$status

.PHONY: check
check: install ## Check format, lint and types
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy

.PHONY: format
format: install ## Format and mend what can be mended
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

.PHONY: full-shape
full-shape: install ## Export and serve random weights of BGE-M3's true shape (slow: minutes, 8 GB of disk)
	$(BIN)/python benchmarks/full_shape.py

.PHONY: bench
bench: install ## Measure side by side with what others use, and write docs/benchmarks.md: make bench OPTIONS=--quick
	-$(BIN)/bgem3 bench --install-peers
	$(BIN)/bgem3 bench --page docs/benchmarks.md $(OPTIONS)

.PHONY: overhead
overhead: install ## Measure what the ensemble adds to the trunk
	$(BIN)/python benchmarks/ensemble_overhead.py

.PHONY: perf-analyzer
perf-analyzer: install ## Run perf_analyzer over gRPC and HTTP and write its tables and plot to docs/
	$(BIN)/bgem3 perf -i grpc -i http --output out/perf
	$(BIN)/python benchmarks/perf_page.py out/perf

.PHONY: fuzz
fuzz: install ## Send the HTTP service what its OpenAPI document allows and what it does not, for minutes
	BGEM3_FUZZ_EXAMPLES=300 $(BIN)/python -m pytest --timeout 3600 tests/gateway/test_schema.py

.PHONY: fuzz-triton
fuzz-triton: install ## Send every model in Triton tensors that are right, wrong and broken, for ten minutes
	BGEM3_FUZZ_EXAMPLES=$${BGEM3_FUZZ_EXAMPLES:-6000} $(BIN)/python -m pytest --timeout 3600 -s tests/live/test_raw_tensors.py

.PHONY: faults
faults: install ## Do to a loaded server what can go wrong, ten times each, and count what callers got (half an hour)
	BGEM3_FAULTS=$${BGEM3_FAULTS:-10} BGEM3_KILL_MOMENTS=10 BGEM3_FAULTS_ROWS=$${BGEM3_FAULTS_ROWS:-out/faults.md} \
		$(BIN)/python -m pytest --timeout 3600 -rP tests/faults tests/retrieval/index/test_index_full_disk.py

# What guides the search is 100 MB and for no other work: it lies beside .venv, not in it.
$(FUZZ)/installed: Makefile $(VENV)/installed
	$(BIN)/python -m pip install --quiet --no-deps --target $(FUZZ) atheris==3.0.0
	@touch $@

.PHONY: fuzz-readers
fuzz-readers: install $(FUZZ)/installed ## Search readers, parsers and the service for what they should not do: make fuzz-readers OPTIONS="--cases 60000 address"
	PYTHONPATH=tests:$(FUZZ) $(BIN)/python tests/fuzz/search.py $(OPTIONS)

.PHONY: kill-encode
kill-encode: install ## Kill bgem3 encode and its Triton at 20 random moments each, and see that it goes on
	BGEM3_KILL_MOMENTS=20 $(BIN)/python -m pytest --timeout 3600 -rP tests/retrieval/bulk/test_corpus_kill*.py

.PHONY: kill-index
kill-index: install ## Kill bgem3 index, its store and its Triton at 20 random moments each, and see what is left
	BGEM3_KILL_MOMENTS=20 $(BIN)/python -m pytest --timeout 3600 -rP tests/retrieval/index/test_index_kill*.py

.PHONY: kill-ray
kill-ray: install ## Kill a node of a Ray cluster half-way, and see that nothing is lost or doubled
	BGEM3_KILL_MOMENTS=1 $(BIN)/python -m pytest -rP tests/retrieval/ray

.PHONY: bundle-test
bundle-test: install ## Bundle the demo model, install it and serve it with the network closed (5 GB of disk)
	$(BIN)/python -m pytest --timeout 1800 -s -o tmp_path_retention_policy=failed tests/bundle/offline.py

.PHONY: bulk-encode
bulk-encode: install ## Measure how fast bgem3 encode is without a trunk, and that its memory does not grow
	$(BIN)/python benchmarks/bulk_encode.py

.PHONY: gateway-overhead
gateway-overhead: install ## Measure what the HTTP service adds to Triton
	$(BIN)/python benchmarks/gateway_overhead.py

.PHONY: load-test
load-test: install ## Send the HTTP service thousands of requests, good and bad, and look what comes back
	$(BIN)/python benchmarks/load_test.py

.PHONY: soak
soak: install ## Load a server at 80% and 300% of its capacity: does anything grow or drift? MINUTES=60 for an hour
	$(BIN)/python benchmarks/soak.py --minutes $(or $(MINUTES),5) $(OPTIONS)

.PHONY: dashboard-preview
dashboard-preview: install ## Load the demo model under Prometheus and draw what the dashboard shows of it
	$(BIN)/python benchmarks/dashboard_preview.py

.PHONY: screenshots
screenshots: install ## Make the pictures of the page in docs/ from a running service
	$(BIN)/python tests/page/screenshots.py $(SERVICE)

.PHONY: lock
lock: install ## Write constraints.txt anew from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--no-annotate --no-header --quiet --output-file constraints.txt

# The tools of the audit have an environment of their own: what they need is not ours to audit.
$(AUDIT)/installed: Makefile
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet bandit==1.9.4 cyclonedx-bom==7.5.0 pip-audit==2.10.1
	@touch $@

.PHONY: audit
audit: audit-code licences sbom audit-advisories ## Look for unsafe code, odd licences and known vulnerabilities

.PHONY: audit-code
audit-code: $(AUDIT)/installed ## Look for unsafe code with bandit
	$(AUDIT)/bin/bandit --quiet --configfile pyproject.toml --severity-level medium --recursive $(PACKAGES)

.PHONY: audit-advisories
audit-advisories: $(AUDIT)/installed ## Compare constraints.txt with the known vulnerabilities (needs the network)
	$(AUDIT)/bin/pip-audit --strict --progress-spinner off --disable-pip --no-deps \
		--requirement constraints.txt

.PHONY: licences
licences: install ## Check the licences of what the package needs to run, and write out/licences.md
	$(BIN)/python -m pytest --quiet tests/audit
	@mkdir -p out
	$(BIN)/python tests/audit/licences.py > out/licences.md

.PHONY: sbom
sbom: install $(AUDIT)/installed ## Write out/sbom.json: what is installed in .venv, as CycloneDX
	@mkdir -p out
	$(AUDIT)/bin/cyclonedx-py environment $(VENV) --pyproject pyproject.toml \
		--output-reproducible --output-format JSON --output-file out/sbom.json

.PHONY: clean
clean: ## Remove what was made in this folder (not the cache of models)
	rm -rf $(VENV) $(AUDIT) $(FUZZ) models out dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
