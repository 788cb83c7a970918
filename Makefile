.PHONY: help build bench bench-quick bench-all bench-micro bench-python bench-filters bench-export bench-random-access demo fuzz test test-all soak test-aarch64 test-python wheel mutants format format-check tidy setup clean
sources = $(shell git ls-files --cached --others --exclude-standard '*.h' '*.cc')

help:          ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 14

build: setup   ## the program at build/release/pennon and the library
	cmake --preset release >/dev/null
	cmake --build --preset release --target pennon pennon_cli

demo: build    ## a live index at work on real data
	build/release/pennon demo

test: setup    ## all tests, and those of concurrency and memory under sanitizers
	bash tools/test.sh

test-all: setup ## and what takes longer: every test under both sanitizers, more random histories, lint
	bash tools/test.sh all
	$(MAKE) format-check tidy

mutants: setup ## breaks the code on purpose, one thing at a time, and sees that tests fail; ONLY="names"
	bash tools/mutants.sh $(ONLY)

soak: build    ## an hour of random histories in the model test; SOAK_SECONDS=3600
	cmake --build --preset release --target model_test
	PENNON_MODEL_SECONDS=$(or $(SOAK_SECONDS),3600) build/release/tests/model_test

test-aarch64:  ## the NEON kernels, built for aarch64 and run under qemu; part of test-all
	bash tools/test_aarch64.sh

wheel: setup   ## the Python package: build/python/wheels
	bash tools/wheel.sh

test-python: setup ## the wheel in a fresh environment: its tests, types and style; part of test
	bash tools/test_python.sh

scenarios = main tens rows ingest sweep
bench: build   ## Pennon and its peers side by side: build/bench/report.html; DATA=path QUERIES=path, ROUNDS=3
	@bash tools/setup.sh bench
	bash tools/wheel.sh
	build/bench/.venv/bin/pip install -q --disable-pip-version-check --force-reinstall --no-deps build/python/wheels/*.whl
	build/bench/.venv/bin/python -B bench/bench.py --scenario $(scenarios) --rounds $(or $(ROUNDS),3) \
	  $(if $(DATA),--data $(DATA)) $(if $(QUERIES),--queries $(QUERIES)) $(BENCH_ARGS)

bench-quick:   ## the same in one round, with fewer parameters
	$(MAKE) bench ROUNDS=1 BENCH_ARGS="--passes 1 --quick $(BENCH_ARGS)"

bench-all:     ## the same, and other kinds of data and a million rows: hours
	$(MAKE) bench scenarios="$(scenarios) kinds million"

bench-python: build ## what a call from Python costs beyond C++, and threads that search while one appends
	bash tools/wheel.sh
	build/python/.venv/bin/pip uninstall -q --disable-pip-version-check -y pennon
	build/python/.venv/bin/pip install -q --disable-pip-version-check build/python/wheels/*.whl
	build/python/.venv/bin/python -B python/bench/overhead.py build/release/pennon

bench-micro: setup ## kernels, codes, walks and links by themselves, also to build/bench/micro.json; BENCH_ARGS
	@bash tools/setup.sh bench-micro
	cmake --preset release -DPENNON_MICRO_BENCH=ON >/dev/null
	cmake --build --preset release --target pennon_micro
	@mkdir -p build/bench
	build/release/pennon_micro --benchmark_out=build/bench/micro.json --benchmark_out_format=json $(BENCH_ARGS)

bench-filters: build ## filtered searches beside hnswlib's and faiss'; DATA, QUERIES, ROUNDS as for bench
	@bash tools/setup.sh bench
	cmake --preset release -DPENNON_HNSWLIB=build/bench/hnswlib >/dev/null
	cmake --build --preset release --target pennon_filtered
	build/bench/.venv/bin/python -B bench/bench.py --scenario filters --rounds $(or $(ROUNDS),3) \
	  $(if $(DATA),--data $(DATA)) $(if $(QUERIES),--queries $(QUERIES)) $(BENCH_ARGS)

bench-export: setup ## exports to Lance beside writing the same bytes: build/bench/export.jsonl; DATA=path, ROUNDS=5
	cmake --preset release >/dev/null
	cmake --build --preset release --target pennon_export
	@mkdir -p build/bench
	build/release/pennon_export --data $(or $(DATA),data/packages-10k.parquet) --out build/bench/export \
	  --rounds $(or $(ROUNDS),5) $(BENCH_ARGS) | tee build/bench/export.jsonl

bench-random-access: setup ## rows of a million taken by Pennon, pylance and Arrow's Parquet reader: build/bench/random-access.jsonl; ROWS, ROUNDS
	@bash tools/setup.sh lance
	cmake --preset release >/dev/null
	cmake --build --preset release --target pennon_access
	@mkdir -p build/bench
	build/lance/.venv/bin/python -B bench/access/run.py build/release/pennon_access --rows $(or $(ROWS),1000000) \
	  --rounds $(or $(ROUNDS),3) $(BENCH_ARGS)

fuzz: setup    ## hostile input to all that reads any, a minute each; SECONDS=60, TARGETS="npy_fuzz options_fuzz"
	@bash tools/setup.sh fuzz
	@bash tools/fuzz.sh $(or $(SECONDS),60) $(TARGETS)

format: setup  ## clang-format on everything
	@bash tools/setup.sh lint
	build/.venv/bin/clang-format -i $(sources)

format-check: setup ## fails if clang-format would change something
	@bash tools/setup.sh lint
	build/.venv/bin/clang-format --dry-run --Werror $(sources)

tidy: build    ## clang-tidy on everything
	@bash tools/setup.sh lint
	printf '%s\n' $(filter %.cc,$(sources)) | grep -v '_avx512\|_portable\|_neon\|^bench/\|^python/' | \
	  xargs -P 2 -n 1 build/.venv/bin/clang-tidy -p build/release --quiet

setup:         ## installs what the build needs
	@bash tools/setup.sh

clean:         ## removes all build trees
	rm -rf build
