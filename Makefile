# `make table-separation` and `make test` are all a new user needs; both bring up the environment first.
#
#   make table-separation DATASET=slakh2100 DATA=/data/slakh2100_flac_redux SYSTEMS=mixture,oracle-irm LAUNCHER=local
#   make table-separation ARGS='batch_size=4 keep_audio=flac'      any further overrides of `gmsdi`

DATASET ?= minislakh
LAUNCHER ?= local
PYTHON ?= python3

GMSDI := .venv/bin/gmsdi
UV := $(shell command -v uv || echo $(PYTHON) -m uv)
INSTALL_UV = command -v uv >/dev/null || $(PYTHON) -m uv --version >/dev/null 2>&1 || $(PYTHON) -m pip install --quiet uv \
	|| $(PYTHON) -m pip install --quiet --user --break-system-packages uv
OVERRIDES = dataset=$(DATASET) launcher=$(LAUNCHER) $(if $(DATA),'data="$(DATA)"') $(if $(SYSTEMS),'system=[$(SYSTEMS)]') $(ARGS)

GENERATION = $(if $(filter-out minislakh,$(DATASET)),protocol=generation)

# where it is set, every start would compile all of torch and seaborn again
unexport PYTHONDONTWRITEBYTECODE

# glibc would give every large block back to the kernel, which clears it anew for the next layer: a third of a separation on a CPU
export MALLOC_MMAP_THRESHOLD_ = 4294967296
export MALLOC_TRIM_THRESHOLD_ = 8589934592

.PHONY: table-separation table-fad subfad train-mini test bench lint docs lock clean

# A failed excerpt must not hide the table: the table marks what is missing, and ends with an exit code of its own. LAUNCHER=slurm waits
# for its jobs, and makes the table here.
table-separation: .venv/.ready
	-$(GMSDI) run table=separation wait=true $(OVERRIDES)
	$(GMSDI) table table=separation $(OVERRIDES)

# Generation: sub-FAD of accompaniments, and FAD of single sources. Real stems have to come from chunks that are not run, so not all are.
subfad: TABLE := subfad
table-fad: TABLE := fad
subfad table-fad: .venv/.ready
	-$(GMSDI) run table=$(TABLE) wait=true $(GENERATION) $(OVERRIDES)
	$(GMSDI) table table=$(TABLE) $(GENERATION) $(OVERRIDES)

# The small models that ship in the repository, made anew; one thread each, so `make -j2 train-mini` takes two cores.
MINI := demucs-mini gmsdi-mini msdm-mini weak-bass-mini weak-drums-mini weak-guitar-mini weak-piano-mini
train-mini: $(MINI:%=train-%)

train-%: .venv/.ready
	OMP_NUM_THREADS=1 $(GMSDI) train model=$(patsubst weak-%-mini,weak-mini model.stem=%,$*) \
		checkpoint=results/reference/checkpoints/$*.safetensors

test: .venv/.ready
	.venv/bin/python -m pytest -n 2 --dist worksteal $(ARGS)

bench: .venv/.ready
	.venv/bin/python -m benchmarks.perf

lint: .venv/.ready
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# docs/ as a site in site/; `python3 -m http.server -d site` shows it, search and all. Warnings, such as of
# a dead link, are errors; with --quiet mkdocs would not see them.
docs: .venv-docs/.ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

.venv-docs/.ready: requirements-docs.lock
	$(INSTALL_UV)
	[ -x .venv-docs/bin/python ] || $(UV) venv --quiet --python $(PYTHON) .venv-docs
	$(UV) pip sync --quiet --python .venv-docs/bin/python --require-hashes requirements-docs.lock
	touch $@

# Exactly the locked packages, each checked by hash. ffmpeg is for museval alone (metric=[bsseval]).
.venv/.ready: requirements.lock pyproject.toml
	$(INSTALL_UV)
	[ -x .venv/bin/python ] || $(UV) venv --quiet --python $(PYTHON) .venv
	$(UV) pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
	@command -v ffmpeg >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& apt-get -qq update && apt-get -qq install -y --no-install-recommends ffmpeg >/dev/null; } \
		|| echo "note: metric=[bsseval] needs ffmpeg: sudo apt-get install ffmpeg"
	touch $@

# After a change of dependencies in pyproject.toml.
lock:
	$(UV) pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --quiet --output-file requirements.lock
	$(UV) pip compile --group docs --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet \
		--output-file requirements-docs.lock

clean:
	rm -rf .venv .venv-docs site data results/runs
