#!/usr/bin/env bash
# Runs every command that README.md shows, as printed, in a clean clone of HEAD, and compares what it shows
# with what comes. Needs git, curl, redis-server and Python 3.11; takes a release build from nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 ci/readme.py "$@"
