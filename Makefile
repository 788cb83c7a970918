.PHONY: help build bench bench-quick demo test test-all format format-check tidy setup clean
sources = $(shell git ls-files --cached --others --exclude-standard '*.h' '*.cc')

help:          ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

build: setup   ## the program at build/release/pennon and the library
	cmake --preset release >/dev/null
	cmake --build --preset release

demo: build    ## a live index at work on real data
	build/release/pennon demo

test: setup    ## all tests, and those of concurrency and memory under sanitizers
	bash tools/test.sh

test-all: setup ## and what takes longer: every test under both sanitizers, more random histories, lint
	bash tools/test.sh all
	$(MAKE) format-check tidy

bench: build   ## Pennon and its peers side by side: build/bench/report.html; DATA=path QUERIES=path, ROUNDS=3
	@bash tools/setup.sh bench
	build/bench/.venv/bin/python bench/bench.py $(if $(DATA),--data $(DATA)) $(if $(QUERIES),--queries $(QUERIES)) \
	  --rounds $(or $(ROUNDS),3) $(BENCH_ARGS)

bench-quick:   ## the same in one round
	$(MAKE) bench ROUNDS=1

format: setup  ## clang-format on everything
	@bash tools/setup.sh lint
	build/.venv/bin/clang-format -i $(sources)

format-check: setup ## fails if clang-format would change something
	@bash tools/setup.sh lint
	build/.venv/bin/clang-format --dry-run --Werror $(sources)

tidy: build    ## clang-tidy on everything
	@bash tools/setup.sh lint
	printf '%s\n' $(filter %.cc,$(sources)) | grep -v '_avx512\|_portable' | \
	  xargs -P 2 -n 1 build/.venv/bin/clang-tidy -p build/release --quiet

setup:         ## installs what the build needs
	@bash tools/setup.sh

clean:         ## removes all build trees
	rm -rf build
