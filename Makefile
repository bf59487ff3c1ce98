# Everything that people and CI run. Needs git, make, a C compiler, Python >= 3.11 and cargo.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FLEET ?= examples
RECORDINGS ?= ../shared/data/realkvm
QEMU ?= ../shared/data/realqemu
VMM ?= ../shared/data/realvmm
FIELD ?= ../shared/data/field
TRUTH ?= ../shared/data/truth
DUMPS ?= ../shared/data/firecracker
MINUTES ?= 10
BRANCHES ?=
FUZZED ?= sets captures fleets batches
ROUNDS ?= 200
MODE ?= run
MUTATE ?= 'kvmfw-core/src/rules/**/*.rs'

SOURCES := pyproject.toml $(shell find rust python -name target -prune -o -type f \( -name '*.rs' -o -name '*.toml' -o -name '*.lock' -o -name '*.py' \) -print)

.PHONY: audit test coverage bench guard counts agreement vmm live tables prove collecting openstack kubernetes schemathesis browser mutants mutants-python wheel reproducible deny sbom sdist-offline lowest deep fuzz fuzz-readers lint format types docs site ci clean

audit: $(VENV)/.installed  ## set everything up and audit the fleet in examples/ (FLEET=folder for another)
	$(BIN)/kvmfw audit $(FLEET) --fail-on none

test: $(VENV)/.tests  ## set everything up and pass all tests
	cd rust && cargo test --workspace --locked --quiet
	$(BIN)/python -m pytest -n logical --dist worksteal

# The module and its Python are copied beside each other, so that nothing is measured of what the environment holds.
COVERED := $(CURDIR)/build/coverage
coverage: $(VENV)/.tests  ## which lines of the core and of Python no test reaches, and which branches of Python: build/coverage/*.txt (needs cargo-llvm-cov; BRANCHES=1 for those of the core too, with nightly Rust)
	rm -rf $(COVERED)/python && mkdir -p $(COVERED) && cp -r python $(COVERED)/python
	$(BIN)/python -m pip install --quiet --upgrade --target $(COVERED)/tools coverage==7.10.7 pytest-cov==6.3.0
	@# What tests start in processes of their own counts too. Children that are forked while threads work would inherit a lock that
	@# coverage.py holds: these tests run without it alone.
	printf 'import os\n\nif "COV_CORE_SOURCE" in os.environ:\n    from pytest_cov.embed import init\n\n    init()\n' > $(COVERED)/tools/sitecustomize.py
	printf '[run]\nsigterm = true\n' > $(COVERED)/rc
	cd rust && $(if $(BRANCHES),export RUSTUP_TOOLCHAIN=nightly &&) eval "$$(cargo llvm-cov show-env --sh $(if $(BRANCHES),--branch))" && cargo llvm-cov clean --workspace && \
	  export CARGO_PROFILE_DEV_OPT_LEVEL=1 && cargo test --quiet --locked -p kvmfw-core && cargo build --quiet --locked -p kvmfw-py && \
	  cp target/debug/lib_native.so $(COVERED)/python/kvmfw/_native.abi3.so && cd .. && \
	  { COVERAGE_FILE=$(COVERED)/data PYTHONPATH=$(COVERED)/python:$(COVERED)/tools:$(CURDIR) $(BIN)/python -m pytest -n logical --dist worksteal -q -W "ignore:kvmfw is a debug build" \
	    --cov=$(COVERED)/python/kvmfw --cov-config=$(COVERED)/rc --cov-branch --cov-report=term-missing:skip-covered -o testpaths="tests $(COVERED)/python" \
	    --deselect tests/test_interrupts.py::test_a_child_forked_while_others_work_works_or_says_so \
	    --ignore-glob="$(COVERED)/python/kvmfw/distributed/*" --ignore=$(COVERED)/python/kvmfw/planners/nova.py \
	    -o timeout=900 > $(COVERED)/python.txt; cd rust && cargo llvm-cov report $(if $(BRANCHES),--branch) > $(COVERED)/rust.txt; }
	grep TOTAL $(COVERED)/python.txt $(COVERED)/rust.txt

bench: $(VENV)/.bench  ## time the hot paths beside what people would use instead
	$(BIN)/python -m pytest benches -q

guard: counts $(VENV)/.bench  ## what keeps the hot path fast: instructions within 1 % of the baseline, ratios of small benches
	$(BIN)/python -m pytest benches/test_fleets.py -q -k "random_pairs or matrices"

counts:  ## instructions of the hot path within 1 % of the baseline (needs valgrind)
	$(PYTHON) benches/instructions.py

agreement: $(VENV)/.tests  ## compare with real kernels and VMMs: RECORDINGS, QEMU, VMM, FIELD, TRUTH are folders
	$(BIN)/python -m tests.agreement --recordings $(RECORDINGS) --qemu $(QEMU) --vmm $(VMM) --field $(FIELD) --truth $(TRUTH) --out docs/agreement.md --schemes docs/schemes.md

vmm: $(VENV)/.tests  ## compare with real loads of Firecracker and cloud-hypervisor: VMM=folder
	$(BIN)/python -m tests.agreement.vmm $(VMM)

live: $(VENV)/.tests  ## boot real kernels under emulation and compare their answers with predictions (MODE=fuzz: random ones; MODE=loads: whole VMs by QEMU)
	$(BIN)/python -m tests.live.$(MODE) $(LIVE)

tables: $(VENV)/.tests  ## compare the tables in the kernel images that `make live` has fetched (IMAGES=folder for others) with the rules, and captures predicted from these with recordings
	$(BIN)/python -m tests.kernels $(IMAGES) --recordings $(RECORDINGS) --dumps $(DUMPS)

prove: build/prove/.installed  ## prove rules of registers against the code of kernel images (IMAGES="files", else those of `make live`)
	PYTHONPATH=python:. build/prove/bin/python -W ignore -m tests.prove $(IMAGES)

collecting: build/collecting/.installed  ## Ansible and kubectl collect from fake hosts; the path from 200 hosts behind a local sshd to an audit, timed
	PYTHONPATH=python build/collecting/bin/python -m pytest -o addopts="--import-mode=importlib" -o timeout=900 -p no:cacheprovider -q tests/collecting
	$(BIN)/python -m tests.demo

browser: $(VENV)/.tests  ## the report in Chromium: axe-core, widths, keys, time to open (needs chromium)
	$(BIN)/python -m pip install --quiet axe-playwright-python==0.1.8 --no-deps --target build/axe
	PYTHONPATH=build/axe $(BIN)/python -m pytest -o addopts="--import-mode=importlib" -o timeout=900 -q -rP tests/browser

openstack: build/openstack/.installed  ## the adapter in Nova's own handlers, traits in the real placement service (580 MB of packages)
	PYTHONPATH=python build/openstack/bin/python -m pytest -o addopts="--import-mode=importlib" -o filterwarnings=default -o timeout=900 \
		-p no:cacheprovider --disable-warnings -q -rP tests/openstack

kubernetes: build/kubernetes/.installed  ## a real etcd, kube-apiserver and kube-scheduler, built from Debian's sources, ask `kvmfw serve` where the pods of examples/ go (needs Debian 12; the first time 6 minutes of CPU and 2 GB)
	PYTHONPATH=build/kubernetes/client:python $(BIN)/python -m pytest -o addopts="--import-mode=importlib" -o filterwarnings=default -o timeout=900 \
		-p no:cacheprovider -p no:logging --disable-warnings -q -rP tests/control_plane

schemathesis: $(VENV)/.tests  ## the service against its own OpenAPI document: thousands of right and wrong requests, and 10,000 hostile ones
	$(BIN)/python -m tests.serve.schemathesis

lowest: $(VENV)/.tests  ## tests with the lowest versions that pyproject.toml allows, in an environment of its own
	$(PYTHON) -m venv $(VENV)-lowest && $(VENV)-lowest/bin/python -m pip install --quiet uv
	VIRTUAL_ENV=$(CURDIR)/$(VENV)-lowest $(VENV)-lowest/bin/uv pip install --quiet --resolution lowest-direct -r pyproject.toml --extra test --extra report
	PYTHONPATH=python $(VENV)-lowest/bin/python -m pytest -q tests/test_cli.py tests/test_faults.py tests/test_report.py tests/test_readers_tables.py tests/test_generations.py

deep: $(VENV)/.tests  ## inject faults again and again and count what becomes of them (ROUNDS)
	$(BIN)/python -m tests.deep --rounds $(ROUNDS)

# Inputs are changed by what they say: to look at each comparison took half of the time.
FUZZER := --fuzz-dir fuzz -s none -O --no-trace-compares
fuzz:  ## fuzz the core, MINUTES for each of FUZZED, and print how many inputs were run (needs nightly Rust and cargo-fuzz)
	cargo +nightly fuzz build $(FUZZER)
	for target in $(FUZZED); do \
	  mkdir -p fuzz/corpus/$$target && \
	  cargo +nightly fuzz run $(FUZZER) $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
	    -max_total_time=$$((60 * $(MINUTES))) -timeout=60 -max_len=16384 -print_final_stats=1 || exit 1; done

fuzz-readers: $(VENV)/.tests  ## fuzz what reads files, MINUTES long, and print how many inputs were run (atheris: CPython 3.11 to 3.13)
	$(BIN)/python -m pip install --quiet --upgrade --target build/atheris atheris==3.0.0
	mkdir -p build/readers
	PYTHONPATH=build/atheris:python:. $(BIN)/python -W ignore -m tests.support.fuzzed build/readers -max_total_time=$$((60 * $(MINUTES))) \
	  -timeout=60 -max_len=65536 -print_final_stats=1

lint: $(VENV)/.dev  ## format and lints, without changing anything
	cd rust && cargo fmt --all --check && cargo clippy --workspace --all-targets --locked -- -D warnings
	@# A check links nothing: any file stands for libFuzzer.
	CUSTOM_LIBFUZZER_PATH=$(CURDIR)/fuzz/Cargo.toml cargo check --quiet --manifest-path fuzz/Cargo.toml --all-targets --locked --target-dir rust/target
	$(BIN)/ruff format --check . && $(BIN)/ruff check .

types: $(VENV)/.dev  ## types, and stubs against the native module
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest kvmfw._native --allowlist tests/stubtest-allowlist.txt

docs: $(VENV)/.dev  ## API docs of the core without warnings
	cd rust && RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked -p kvmfw-core

site: $(VENV)/.site  ## the site of docs/, without warnings: every link and every document of the API
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Nothing of this machine is in it: neither folders nor times. (maturin 1.16 names the folder in the list of crates.)
wheel: $(VENV)/.dev  ## a stripped wheel in dist/, the same to the byte in whatever folder it is built
	rm -rf build/wheel
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
	RUSTFLAGS="--remap-path-prefix=$(CURDIR)=/kvmfw --remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=/cargo" \
	  $(abspath $(BIN))/maturin build --release --locked --strip --quiet --out build/wheel/made
	$(BIN)/python -m wheel unpack --dest build/wheel build/wheel/made/*.whl
	sed -i 's|path+file://$(CURDIR)/|path+file:///kvmfw/|' build/wheel/kvmfw-*/*.dist-info/sboms/*.json
	mkdir -p dist && SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m wheel pack --dest-dir dist build/wheel/kvmfw-*

reproducible: $(VENV)/.dev  ## build the wheel in two folders and compare
	rm -rf build/twice
	for folder in one two/deeper; do \
	  git clone --quiet . build/twice/$$folder && $(MAKE) -C build/twice/$$folder VENV=$(abspath $(VENV)) -o $(abspath $(VENV))/.dev wheel || exit 1; done
	sha256sum build/twice/one/dist/*.whl build/twice/two/deeper/dist/*.whl
	cmp build/twice/one/dist/*.whl build/twice/two/deeper/dist/*.whl

deny:  ## advisories, licences, sources and versions of the crates (needs cargo-deny, and asks github.com for advisories)
	cd rust && cargo deny check

sbom: wheel  ## what is in the wheel, and what it needs, as CycloneDX: dist/*.cdx.json
	rm -rf build/sbom && $(PYTHON) -m venv build/sbom/kvmfw && $(PYTHON) -m venv build/sbom/tool
	build/sbom/kvmfw/bin/python -m pip install --quiet $$(ls -t dist/*.whl | head -1)
	build/sbom/tool/bin/python -m pip install --quiet cyclonedx-bom==7.5.0
	build/sbom/tool/bin/cyclonedx-py environment --output-reproducible -o dist/kvmfw-python.cdx.json build/sbom/kvmfw/bin/python
	$(PYTHON) -m zipfile -e $$(ls -t dist/*.whl | head -1) build/sbom/wheel
	cp build/sbom/wheel/*.dist-info/sboms/kvmfw-py.cyclonedx.json dist/kvmfw-rust.cdx.json

# Cargo reads .cargo/config.toml of the folder in which it runs: that of the archive sends it to the crates beside it.
sdist-offline:  ## a source archive in dist/ with all crates, which builds without a network
	rm -rf build/offline && mkdir -p build/offline/kvmfw/.cargo dist
	git archive HEAD | tar -x -C build/offline/kvmfw
	cd build/offline/kvmfw && cargo vendor --locked --manifest-path rust/Cargo.toml rust/vendor 2> /dev/null > .cargo/config.toml
	tar --sort=name --mtime=@$$(git log -1 --format=%ct) --owner=0 --group=0 --numeric-owner -C build/offline -cf - kvmfw | gzip -n > dist/kvmfw-offline.tar.gz

mutants:  ## mutate the rules and list what neither tests nor vectors notice (needs cargo-mutants; hours; MUTATE=files)
	rm -rf build/mutants && git clone --quiet . build/mutants
	cd build/mutants/rust && cargo mutants --in-place -p kvmfw-core $(foreach file,$(MUTATE),-f $(file)) -o ../.. -- --lib --test vectors

mutants-python: $(VENV)/.tests  ## the same for readers, store and analysis, in children that exchange code (an hour; FILES, SAMPLE=number of changes)
	$(BIN)/python -m pip install --quiet --upgrade --target build/mutation coverage==7.10.7
	PYTHONPATH=build/mutation $(BIN)/python -m tests.mutants $(FILES) $(if $(SAMPLE),--sample $(SAMPLE))

format: $(VENV)/.dev  ## format everything
	cd rust && cargo fmt --all
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

ci: test lint types docs site guard  ## what CI runs

# Each stamp says what the environment holds; all build the native module from the sources of now.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "kvmfw needs Python >= 3.11; set PYTHON=python3.x" >&2; exit 1; }
	@command -v cargo > /dev/null || { echo "kvmfw needs cargo (Rust >= 1.88) to build its core" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable '.'
	touch $@

$(VENV)/.tests: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $(VENV)/.installed $@

$(VENV)/.dev: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(VENV)/.installed $(VENV)/.tests $@

$(VENV)/.site: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

$(VENV)/.bench: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable '.[test,bench]'
	touch $(VENV)/.installed $@

# The native module is that of the environment of tests: it has the stable ABI.
build/openstack/.installed: $(VENV)/.tests
	$(PYTHON) -m venv build/openstack
	build/openstack/bin/python -m pip install --quiet nova==34.0.0 openstack-placement==16.0.0 pyarrow msgspec click rich \
		pytest pytest-timeout hypothesis
	touch $@

build/kubernetes/.installed: $(VENV)/.tests tests/control_plane/build.sh
	$(BIN)/python -m pip install --quiet kubernetes==37.0.2 --upgrade --target build/kubernetes/client
	sh tests/control_plane/build.sh build/kubernetes
	touch $@

# angr names no upper bounds for what it reads code and C with, and does not work with the next ones.
build/prove/.installed: $(VENV)/.tests
	$(PYTHON) -m venv build/prove
	build/prove/bin/python -m pip install --quiet angr==9.2.213 'bitstring<5' 'pycparser==3.0' numpy pyarrow msgspec click rich
	touch $@

build/collecting/.installed: $(VENV)/.tests
	$(PYTHON) -m venv build/collecting
	build/collecting/bin/python -m pip install --quiet ansible-core==2.19.14 kubernetes==37.0.2 numpy pyarrow msgspec click rich pytest pytest-timeout hypothesis
	touch $@

clean:  ## remove what was built
	rm -rf $(VENV) build/openstack build/collecting build/kubernetes build/axe rust/target dist .pytest_cache .mypy_cache .ruff_cache
