#!/bin/sh
# Stands in for the registry of an upstream project: makes an image and a Helm chart of signboard, in two versions, and
# serves them until Ctrl-C. Usage: serve.sh [HOST:PORT]. Needs carvelwright, Go, python3 and GNU tar.
set -eu
address=${1:-127.0.0.1:5058}
here=$(cd "$(dirname "$0")" && pwd)
image="$address/upstream/signboard"
scratch=$(mktemp -d)
registry=

finish() {
  [ -z "$registry" ] || kill "$registry" 2> /dev/null || true
  rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 0' INT TERM

fail() {
  echo "error: $1" >&2
  exit 1
}

for program in carvelwright go python3; do
  command -v "$program" > /dev/null || fail "$program is not on PATH: run \`make tools\` and put .venv/bin on it"
done
# crane and helm are those that carvelwright pins and builds.
directories='import json, os, sys; print(*(os.path.dirname(tool["path"]) for tool in json.load(sys.stdin)["tools"]), sep=":")'
doctor=$(carvelwright --project "$here/../chart-package" doctor --install --format json)
PATH="$PATH:$(echo "$doctor" | python3 -c "$directories")"

# A tar of equal bytes each time, so that the image has the same digest wherever the pinned Go makes it.
layer() {
  CGO_ENABLED=0 GOOS=linux GOARCH=$2 GOENV=off GOFLAGS= GOWORK=off GOTOOLCHAIN=local \
    go build -C "$here" -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$1" -o "$scratch/signboard" .
  tar -C "$scratch" -cf "$scratch/layer.tar" --format=ustar --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=755 signboard
}

push() {
  for architecture in amd64 arm64; do
    layer "$1" "$architecture"
    crane append --oci-empty-base --new_layer "$scratch/layer.tar" --new_tag "$image:$1-$architecture"
    crane mutate --set-platform "linux/$architecture" --entrypoint /signboard --user 65532 \
      --tag "$image:$1-$architecture" "$image:$1-$architecture"
  done
  crane index append --manifest "$image:$1-amd64" --manifest "$image:$1-arm64" --tag "$image:$1"
  helm package "$here/chart" --version "$1" --app-version "$1" --destination "$scratch"
  helm push "$scratch/signboard-$1.tgz" "oci://$address/upstream/charts" --plain-http
}

crane registry serve --address "$address" > "$scratch/registry.log" 2>&1 &
registry=$!
until crane catalog "$address" > /dev/null 2>&1; do
  kill -0 "$registry" 2> /dev/null || fail "cannot listen on $address: $(tail -n 1 "$scratch/registry.log")"
  sleep 0.1
done
kill -0 "$registry" 2> /dev/null || fail "another registry listens on $address"
for version in 1.0.0 1.1.0; do
  push "$version" > "$scratch/push.log" 2>&1 || fail "cannot push $version: $(tail -n 3 "$scratch/push.log")"
  echo "image $image:$version"
  echo "chart oci://$address/upstream/charts/signboard:$version"
done
echo "serving; press Ctrl-C to stop"
wait "$registry"
