# Installing, packaging, and the documents that are written out of the programs. Included by the Makefile.

PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
STRIP ?= strip
BUILD ?= .build/release
INSTALL_ENVIRONMENT := PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' SYSCONFDIR='$(SYSCONFDIR)' UNITDIR='$(UNITDIR)' \
	ZSHDIR='$(ZSHDIR)' STRIP='$(STRIP)' BUILD='$(BUILD)'

.PHONY: install uninstall deb docs docc man completions test-packaging

# Not built here: `make build` may be an ordinary user's, `make install` is root's.
$(BUILD)/corral $(BUILD)/corrald:
	@echo "$@ is missing: run make build" >&2; exit 1

man: setup-packaging $(BUILD)/corral $(BUILD)/corrald
	@rm -rf build/man
	@python3 -B packaging/manual.py man $(BUILD)/corral $(BUILD)/corrald . build/man

completions: $(BUILD)/corral $(BUILD)/corrald
	@mkdir -p build/completions
	@for shell in bash zsh fish; do for program in corral corrald; do \
	    $(BUILD)/$$program --generate-completion-script $$shell | sed '1{/^#!/d}' >build/completions/$$program.$$shell; done; done

# docs/CLI.md, the README's tour and docs/PERFORMANCE.md are written by programs and kept with the sources.
docs: setup-packaging $(BUILD)/corral $(BUILD)/corrald
	python3 -B packaging/manual.py cli $(BUILD)/corral $(BUILD)/corrald >docs/CLI.md.new && mv docs/CLI.md.new docs/CLI.md
	Tests/docs/tour.sh write

# Pages of the libraries, for who changes Corral: build/docc/*.doccarchive.
docc: $(BUILD)/corral $(BUILD)/corrald
	@packaging/docc.sh

install: man completions
	@$(INSTALL_ENVIRONMENT) packaging/install.sh install

uninstall: man completions
	@$(INSTALL_ENVIRONMENT) packaging/install.sh uninstall

# build/corral_VERSION_ARCHITECTURE.deb
deb: man completions
	@BUILD='$(BUILD)' packaging/deb.sh

test-packaging:
	Tests/run.sh packaging
