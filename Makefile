# The verbs. `make help` lists them.

VENV   := .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || echo python3)
UV     := 0.13.9
choice  = $(shell sed -n 's/^$(1): *\([^ #]*\).*/\1/p' params.yaml)
VOICE   = $(call choice,voice)
PORT   ?= 8080
HOST   ?= 127.0.0.1
# not ?=: desktops export a LANGUAGE of their own, such as en_US:en
LANGUAGE = en

export PATH := $(abspath $(VENV))/bin:$(PATH)
export BENTOML_HOME := $(abspath .bentoml)
export BENTOML_DO_NOT_TRACK := True
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: help setup doctor repro nano record listen test check lint types mlflow serve promote rollback bench lock

help: ## list the verbs
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(VENV)/.installed ## make .venv and install the locked dependencies

$(VENV)/.installed: requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 13) else "error: Python 3.11 or 3.12 is needed; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV)
	$(VENV)/bin/uv pip install --quiet --system-certs --python $(VENV)/bin/python --require-hashes -r requirements.lock
	touch $@

repro: setup ## recordings to a packaged voice, for the choices in params.yaml; then log to MLflow
	@test -d data/raw/$(VOICE) || { echo 'error: data/raw/$(VOICE) is missing. Put recordings there (README.md), or choose another voice in params.yaml.' >&2; exit 1; }
	@git update-index --skip-worktree dvc.lock 2>/dev/null || true # this machine's results, not the project's (docs/adr/0002)
	dvc repro
	python -m pipelines.track
	@printf '\nDone. Listen and compare:  reports/%s/report.html\n' '$(VOICE)'
	@printf 'Compare runs and voices:   make mlflow\n'
	@printf 'Serve the winner:          make serve\n'

doctor: setup ## what would stop or spoil a training of the choices in params.yaml; seconds once the voice is encoded
	@git update-index --skip-worktree dvc.lock 2>/dev/null || true
	dvc repro --quiet encode describe plan
	python -m pipelines.train.finetune --preflight voice=$(VOICE) language=$(call choice,language) model=$(call choice,model) train=$(call choice,train)

nano: DEVICE = cpu
nano: setup ## train `nano` from scratch: hours on two cores (DEVICE=cuda RECORDINGS=folder; docs/nano.md)
	@command -v espeak-ng >/dev/null || { echo 'error: espeak-ng is missing. Install it: apt-get install espeak-ng' >&2; exit 1; }
	python -m pipelines.pretrain.corpus $(if $(RECORDINGS),recordings=$(RECORDINGS))
	python -m pipelines.pretrain.aligner device=$(DEVICE) $(DONOR)
	python -m pipelines.pretrain.speaker $(DONOR)
	python -m pipelines.pretrain.codec device=$(DEVICE) $(DONOR)
	python -m pipelines.pretrain.material $(DONOR)
	python -m pipelines.pretrain.talker device=$(DEVICE) $(DONOR)
	python -m pipelines.pretrain.talker.forced $(DONOR)
	python -m pipelines.pretrain.codec device=$(DEVICE) $(DONOR) forced=.cache/pretrain/forced
	python -m pipelines.pretrain.nano

nano: DONOR = $(if $(RECORDINGS),recordings=recordings)

record: PORT = 8082
record: setup ## a page to record a voice with, on http://127.0.0.1:8082 (VOICE=name LANGUAGE=en PORT=...)
	python -m pipelines.data.record voice=$(VOICE) language=$(LANGUAGE) port=$(PORT)

listen: PORT = 8083
listen: setup ## hear the fine-tuned voice and zero-shot blindly on http://127.0.0.1:8083 (VOICE=name PORT=...)
	python -m pipelines.eval.listen voice=$(VOICE) port=$(PORT)

test: setup ## the fast tests: CPU, no network, no model hub
	OMP_NUM_THREADS=1 python -m pytest $(WORKERS)

# a process a core, four at most: each holds torch; a file stays with one, for the models that its tests share
test: WORKERS = -n logical --maxprocesses 4 --dist loadfile

check: lint types test ## what must pass before a commit

lint: setup ## ruff and the import contracts
	ruff check .
	ruff format --check .
	lint-imports

types: setup ## mypy
	mypy

mlflow: setup ## the MLflow UI on http://127.0.0.1:5000
	mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port 5000

serve: setup ## serve the packaged voice on http://127.0.0.1:8080 (PORT=... HOST=address, docs/serving.md)
	@test -f models/$(VOICE)/bento/tag.txt || { echo 'error: no packaged voice "$(VOICE)". Run `make repro` first.' >&2; exit 1; }
	@bentoml get "$$(cat models/$(VOICE)/bento/tag.txt)" >/dev/null 2>&1 || bentoml import "$(CURDIR)"/models/$(VOICE)/bento/*.bento # a relative path is sought under /
	bentoml serve "$$(cat models/$(VOICE)/bento/tag.txt)" --host $(HOST) --port $(PORT) --timeout-graceful-shutdown 120

bench: setup ## the benchmarks; figures go into benchmarks/README.md
	python -m benchmarks.stages

promote: setup ## put the champion on air in the running service, without dropping a stream (VOICE=name)
	python -m serving.promote promote $(VOICE)

rollback: setup ## put the voice before it on air again (VOICE=name)
	python -m serving.promote rollback $(VOICE)

lock: ## resolve requirements.lock anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	  --extra mcp --extra train --extra eval --extra serve --extra dev pyproject.toml -o requirements.lock
