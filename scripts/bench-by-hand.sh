#!/usr/bin/env bash
# The packaging part done by hand, as the measure that `make bench` compares with: plain ytt | kbld | imgpkg push.
# usage: bench-by-hand.sh PROJECT IMAGE_LAYOUT IMAGE_DIGEST CRDS OUT   (ytt, kbld, imgpkg, crane on PATH)
set -euo pipefail
. "$(dirname "$0")/bench-stage.sh"

mkdir -p "$out/bundle/.imgpkg" "$out/repository/.imgpkg" "$out/repository/packages/$name"
ytt -f "$out/bundle/config" | kbld -f - -f "$out/kbld.yml" --imgpkg-lock-output "$out/bundle/.imgpkg/images.yml" > /dev/null
imgpkg push -b "$to/$name:$tag" -f "$out/bundle" --lock-output "$out/bundle.lock" --tty=false > /dev/null
bundle=$(awk '/image:/ {print $2}' "$out/bundle.lock")

{
  printf 'apiVersion: data.packaging.carvel.dev/v1alpha1\nkind: Package\nmetadata: {name: %s.%s}\n' "$name" "$version"
  printf 'spec:\n  refName: %s\n  version: %s\n  valuesSchema:\n    openAPIv3:\n' "$name" "$version"
  ytt -f "$out/bundle/config" --data-values-schema-inspect -o openapi-v3 |
    awk '/^    dataValues:/ {inside = 1; next} inside'
  printf '  template:\n    spec:\n      fetch: [{imgpkgBundle: {image: "%s"}}]\n' "$bundle"
  printf '      template: [{ytt: {paths: [config/]}}, {kbld: {paths: ["-", .imgpkg/images.yml]}}]\n      deploy: [{kapp: {}}]\n'
} > "$out/repository/packages/$name/$version.yml"
{
  printf 'apiVersion: data.packaging.carvel.dev/v1alpha1\nkind: PackageMetadata\nmetadata: {name: %s}\nspec:\n' "$name"
  sed 's/^/  /' "$project/package/metadata.yaml"
} > "$out/repository/packages/$name/metadata.yml"
kbld -f "$out/repository/packages" --imgpkg-lock-output "$out/repository/.imgpkg/images.yml" > /dev/null
imgpkg push -b "$to/package-repository:$tag" -f "$out/repository" --lock-output "$out/repository.lock" --tty=false > /dev/null
repository=$(awk '/image:/ {print $2}' "$out/repository.lock")

imgpkg copy -b "$repository" --to-tar "$out/dist/$name-$version.tar" --tty=false > /dev/null
crane tag "$repository" latest 2> /dev/null
cp -r "$out/repository/packages/." "$out/dist/packages"
(cd "$out/dist" && find . -type f -print0 | sort -z | xargs -0 sha256sum > ../SHA256SUMS)
