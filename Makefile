# make help lists what there is.
VENV ?= .venv
TOOLS ?= .venv-tools
PYTHON ?= python3
# One more than the cores of a usual runner, because some tests wait for servers and containers.
JOBS ?= 3
BIN = $(VENV)/bin
PROJECT = {{cookiecutter.repo_name}}
LOCKED = requirements/requirements.txt

.PHONY: help
help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup  ## Render the defaults into build/, and take them from raw data to a prediction
	@$(BIN)/python tools/demo.py

# What nearly every change can break, and what takes no server, container or training to see.
QUICK = hooks answers overlays render release
.PHONY: quick
quick: lint  ## Check in a minute what nearly every change can break: style, hooks, answers, overlays, renders
	$(BIN)/python -m pytest --quiet -n $(JOBS) $(QUICK:%=tests/test_%.py) $(ARGS)

.PHONY: test
test: setup tools  ## Run the whole suite
	TOOLS=$(abspath $(TOOLS)) $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(ARGS)

.PHONY: test-all
test-all: setup tools  ## Run the suite and every long proof, in every combination: some hours on two cores
	TOOLS=$(abspath $(TOOLS)) $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m '' $(ARGS)

.PHONY: lint
lint: setup  ## Check the style and types of the template's own code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: setup
setup: $(VENV)/.complete  ## Make .venv, with what the template and every render need

# uv installs faster than pip. It does not read pip's settings, such as a mirror's address
# (uv has UV_DEFAULT_INDEX for that); where it gets nowhere, pip does the same from the same hashes.
$(VENV)/.complete: $(LOCKED) requirements/uv.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 14) or sys.exit("This needs Python 3.11, 3.12 or 3.13, and %s is %d.%d. Name another: make PYTHON=python3.12" % ("$(PYTHON)", v[0], v[1]))'
	@echo "Setting up $(VENV): about a minute, more when packages must be downloaded"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --require-hashes --compile-bytecode -r $(LOCKED) \
		|| $(BIN)/python -m pip install --quiet --no-deps --require-hashes -r $(LOCKED)
	@touch $@

.PHONY: site
site: setup  ## Build this site into site/: the template's pages and every combination's guide
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Versions of the site stand side by side in the branch `pages`: a tag's, which is the latest, and dev.
RELEASE ?= $(shell git describe --exact-match --tags 2>/dev/null)
MIKE = PATH=$(abspath $(BIN)):$$PATH mike
.PHONY: publish
publish: setup  ## Add this site to the branch pages, as the tag's or as dev, and lay all versions out in site/ (PUSH=--push)
	$(if $(PUSH),git fetch --depth=1 origin '+refs/heads/pages*:refs/remotes/origin/pages*')
	NO_MKDOCS_2_WARNING=1 VERSIONS=mike $(MIKE) deploy --branch pages --update-aliases --alias-type redirect $(PUSH) \
		$(if $(RELEASE),$(RELEASE:v%=%) latest,dev)
	$(MIKE) set-default --branch pages $(PUSH) $$($(MIKE) list --branch pages latest >/dev/null 2>&1 && echo latest || echo dev)
	rm -rf site && mkdir site && git archive pages | tar --extract --directory site

# MkDocs and its theme are at the end of their time; this is their makers' next.
ZENSICAL ?= .venv-zensical
.PHONY: zensical
zensical: $(ZENSICAL)/.complete  ## Try this site and a project's own with Zensical
	rm -rf build/zensical
	mkdir -p build/zensical
	@$(BIN)/python -m tools.zensical build/zensical/template >/dev/null
	@$(BIN)/cookiecutter . --no-input --output-dir build/zensical >/dev/null
	cd build/zensical/template && $(abspath $(ZENSICAL))/bin/zensical build --strict
	cd build/zensical/my-ml-project && $(abspath $(ZENSICAL))/bin/zensical build --strict

$(ZENSICAL)/.complete: requirements/zensical.txt $(VENV)/.complete
	@$(PYTHON) -m venv $(ZENSICAL)
	@$(BIN)/uv pip install --quiet --system-certs --python $(ZENSICAL)/bin/python --require-hashes -r $< \
		|| $(ZENSICAL)/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $@

.PHONY: screenshots
screenshots: tools site  ## Look at this site and a project's own in Chromium: pictures and faults in build/screenshots
	rm -rf build/screenshots build/project
	@$(BIN)/cookiecutter . --no-input --output-dir build/project >/dev/null
	@cd build/project/my-ml-project && NO_MKDOCS_2_WARNING=1 $(abspath $(BIN))/mkdocs build --strict --quiet
	$(TOOLS)/bin/python tools/look.py site --full --pictures build/screenshots/template
	$(TOOLS)/bin/python tools/look.py build/project/my-ml-project/site --full --pictures build/screenshots/project

.PHONY: pictures
pictures: tools  ## Take the guide's pictures anew, of a project that runs, in Chromium
	rm -rf build/pictures
	mkdir -p build/pictures
	$(TOOLS)/bin/python tools/pictures.py $(VENV) build/pictures

.PHONY: notes
notes:  ## Print what CHANGELOG.md says of its newest version
	@awk '/^## / { number++ } number == 1 && !/^## /' CHANGELOG.md

# A copy of what is checked in, which locks everything anew and then has to set up, render and work with that.
CANARY = build/canary
.PHONY: canary
canary: setup  ## Try the newest versions of all that is pinned, in build/canary, and say what moved
	rm -rf $(CANARY)
	git checkout-index --all --prefix=$(CANARY)/
	$(MAKE) --directory=$(CANARY) --assume-old=setup lock VENV=$(abspath $(VENV)) ARGS=--upgrade
	@git diff --no-index --unified=0 $(LOCKED) $(CANARY)/$(LOCKED) | grep '^[-+][a-z0-9]' | tr -d '\\' || echo "nothing moved"
	$(MAKE) --directory=$(CANARY) demo lint test VENV=.venv TOOLS=.venv-tools ARGS="$(or $(ARGS),tests/test_project.py tests/test_jobs.py)"

# Polyaxon's client needs an older Jinja2 than Cookiecutter does: an environment of its own.
.PHONY: tools
tools: $(TOOLS)/.complete  ## Make .venv-tools, with what judges job specs, container files and pipelines

$(TOOLS)/.complete: requirements/tools.txt requirements/package-lock.json $(VENV)/.complete
	@$(PYTHON) -m venv $(TOOLS)
	@$(BIN)/uv pip install --quiet --system-certs --python $(TOOLS)/bin/python --require-hashes --compile-bytecode -r $< \
		|| $(TOOLS)/bin/python -m pip install --quiet --no-deps --require-hashes -r $<
	@cp requirements/package.json requirements/package-lock.json $(TOOLS)
	@cd $(TOOLS) && PATH=$$PWD/bin:$$PATH npm ci --silent
	@touch $@

COMPILE = $(BIN)/uv pip compile --quiet --system-certs --universal --python-version 3.11 --generate-hashes \
	--no-annotate $(ARGS)
# What stands at the top of a project's file: how its own make lock, or Renovate, makes it anew.
ANEW = uv pip compile --universal --python-version=3.11 --generate-hashes

# The union first; the render's files are then parts of that one resolution, or of the tools' if they send jobs.
.PHONY: lock
lock: setup  ## Pin all requirements anew, the renders' too (ARGS=--upgrade for newer versions)
	$(COMPILE) --no-header requirements/requirements.in --output-file $(LOCKED)
	echo uv | $(COMPILE) --no-header - --constraints $(LOCKED) --output-file requirements/uv.txt
	$(COMPILE) --no-header requirements/tools.in --output-file requirements/tools.txt
	$(COMPILE) --no-header requirements/zensical.in --constraints $(LOCKED) --output-file requirements/zensical.txt
	find '$(PROJECT)' -path '*requirements/*.in' | while read -r file; do \
		name=requirements/$$(basename "$$file" .in); from=$(LOCKED); \
		case $$name in \
			*/dev) of="$$name.in requirements/storage.in" ;; \
			*/jobs) of=$$name.in; from=requirements/tools.txt ;; \
			*/audit) of=$$name.in ;; \
			*) of="--constraint=requirements/dev.txt $$name.in" ;; esac; \
		$(COMPILE) "$$file" --constraints $$from --output-file "$${file%.in}.txt" \
			--custom-compile-command "$(ANEW) $$of --output-file=$$name.txt" || exit 1; done

.PHONY: clean
clean:  ## Remove what the targets made, apart from .venv
	rm -rf build site .pytest_cache .mypy_cache .ruff_cache .hypothesis
