# `make demo` and `make test` do all set-up themselves, on a bare Debian 12 too; what is done is not done twice.

PYTHON ?= python3
VENV   ?= .venv
OUT    ?= demo-out
SEED   ?= 1
SYSTEM ?= install
JOBS   ?= auto

bin    := $(VENV)/bin
core   := $(foreach layer,navigation tracking calibration,$(wildcard $(layer)/core/*.cpp $(layer)/core/*.hpp $(layer)/core/*.inl))
screen := xvfb-run -a -s "-screen 0 1600x1000x24"
pip    := $(bin)/python -m pip --disable-pip-version-check install --quiet --no-build-isolation --use-pep517

.PHONY: demo test lint setup core stub lock sbom audit campaign clean
.DELETE_ON_ERROR:
.NOTPARALLEL:

demo: $(VENV)/.core
	@$(bin)/gammanav demo --out $(OUT) --seed $(SEED) --force

test: lint
	$(screen) $(bin)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST)

lint: $(VENV)/.core $(VENV)/.dev
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy
	$(bin)/lint-imports --no-logo

setup: $(VENV)/.core

# For developers: `core` recompiles what changed and puts the module where Python finds it; `stub` renews its types.
core: $(VENV)/.run
	@$(pip) --no-deps --editable .
	@touch $(VENV)/.core

stub: core
	@$(bin)/python -m nanobind.stubgen -q -m navigation._core -o navigation/_core.pyi
	@$(bin)/python -m nanobind.stubgen -q -m tracking._wire -o tracking/_wire.pyi
	@$(bin)/python -m nanobind.stubgen -q -m calibration._physics -o calibration/_physics.pyi

lock: $(VENV)/.dev
	@$(bin)/python -m pip install --quiet pip-tools
	tools/lock.sh $(LOCK)

# What is in it: every package of the run lock with its hashes, in CycloneDX; and what is known against them (asks the net).
sbom: $(VENV)/.dev
	$(bin)/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --output-reproducible -o sbom.cdx.json

audit: $(VENV)/.run
	@$(PYTHON) -m venv build/audit && build/audit/bin/python -m pip install --quiet pip-audit
	build/audit/bin/pip-audit --require-hashes --disable-pip -r requirements.txt

# The long versions of what the tests do in short: hours. N scales them.
N ?= 1
campaign: $(VENV)/.core $(VENV)/.dev
	$(bin)/python -m tests.campaign.kill --n $$((500 * $(N)))
	$(bin)/python -m tests.campaign.torn --n $$((1000 * $(N)))
	$(bin)/python -m tests.campaign.links --n $$((2000 * $(N)))
	$(bin)/python -m tests.campaign.sequences --n $$((10000 * $(N)))
	$(bin)/python -m tests.campaign.time_faults --n $$((20 * $(N)))
	$(bin)/python -m tests.campaign.soak --hours $$((24 * $(N)))
	$(bin)/python -m tests.campaign.fuzz --n $$((100000000 * $(N)))
	$(bin)/python -m tests.campaign.pacs --n $$((2000 * $(N)))
	$(bin)/python -m tests.campaign.dicom --n $$((1000000 * $(N)))
	$(bin)/python -m benchmarks.beds --beds $$((3000 * $(N)))

clean:
	rm -rf build $(VENV)/.core

$(VENV)/.system: tools/packages-run.txt tools/system_packages.sh
	@[ $(SYSTEM) = skip ] || tools/system_packages.sh $<
	@mkdir -p $(VENV) && touch $@

$(VENV)/.venv: $(VENV)/.system
	@echo "setup: Python environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "setup: Python 3.11 or newer is needed")'
	@[ -x $(bin)/python ] || $(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: requirements-build.txt requirements.txt $(VENV)/.venv
	@echo "setup: Python packages, each checked against its hash (some minutes)"
	@$(pip) --require-hashes -r requirements-build.txt
	@$(pip) --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt tools/packages-test.txt $(VENV)/.run
	@[ $(SYSTEM) = skip ] || tools/system_packages.sh tools/packages-test.txt
	@echo "setup: Python packages of the tests"
	@$(pip) --require-hashes -r requirements-dev.txt
	@touch $@

$(VENV)/.core: CMakeLists.txt pyproject.toml $(core) $(VENV)/.run
	@echo "setup: native core and the command $(bin)/gammanav"
	@$(pip) --no-deps --editable .
	@touch $@
