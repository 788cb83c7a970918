.PHONY: build setup demo test clean
build: setup
	cmake --preset release >/dev/null
	cmake --build --preset release
setup:
	@bash tools/setup.sh
demo: build
	build/release/pennon demo
test: setup
	bash tools/test.sh
clean:
	rm -rf build
