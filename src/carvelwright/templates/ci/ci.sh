#!/usr/bin/env bash
# What CI does, whichever it is. Runs on any machine, against any registry:
#   scripts/ci.sh pull-request BASE            check and build; compare with the git revision BASE
#   scripts/ci.sh release REGISTRY/PATH        check and build; compare with what is published there; publish
# The result, in Markdown, is appended to $SUMMARY.
set -euo pipefail
cd "$(dirname "$0")/.."

: "${CARVELWRIGHT:=carvelwright}"
: "${SUMMARY:=${GITHUB_STEP_SUMMARY:-build/ci-summary.md}}"
mkdir -p build "$(dirname "$SUMMARY")"

usage() {
  echo "usage: $0 pull-request BASE | release REGISTRY/PATH" >&2
  exit 2
}

# The refNames of what was built.
packages() {
  for directory in dist/packages/*/; do
    basename "$directory"
  done
}

# Compare each package with its state in OLD, where it has one. Prints Markdown.
compare() {
  for package in $(packages); do
    printf '## %s\n\n' "$package"
    if ! "$CARVELWRIGHT" diff "$1" . --package "$package" --format markdown 2> build/ci-diff.log; then
      printf 'Nothing to compare with in `%s`:\n\n```text\n%s\n```\n' "$1" "$(cat build/ci-diff.log)"
    fi
    echo
  done
}

# A project's own tests, where it has some.
own_tests() {
  if [ -f Makefile ] && grep -q '^test:' Makefile; then
    make test
  fi
}

[ $# = 2 ] || usage
case $1 in
  pull-request)
    "$CARVELWRIGHT" check
    "$CARVELWRIGHT" build
    own_tests
    compare "git:$2" | tee -a "$SUMMARY"
    ;;
  release)
    "$CARVELWRIGHT" check
    "$CARVELWRIGHT" build
    own_tests
    compare "registry:$2" >> "$SUMMARY"
    "$CARVELWRIGHT" publish "$2" | tee build/ci-published.txt
    printf '## Published\n\n```text\n%s\n```\n' "$(cat build/ci-published.txt)" >> "$SUMMARY"
    ;;
  *) usage ;;
esac
