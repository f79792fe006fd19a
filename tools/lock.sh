#!/bin/sh
# Renews the hash-pinned locks from requirements-build.in and pyproject.toml; with --upgrade, to newer versions.
# Needs the extra "lock". This machine's own pip settings are left out, so that none of them enters a lock.
set -eu
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
export PIP_CONFIG_FILE=/dev/null
unset PIP_FIND_LINKS PIP_INDEX_URL PIP_EXTRA_INDEX_URL

compile() {
    "$bin/pip-compile" --quiet --generate-hashes --strip-extras --allow-unsafe --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --no-emit-trusted-host "$@"
}

compile "$@" -o requirements-build.txt requirements-build.in
compile "$@" -c requirements-build.txt -o requirements.txt pyproject.toml
compile "$@" -c requirements-build.txt -c requirements.txt --extra dev -o requirements-dev.txt pyproject.toml
