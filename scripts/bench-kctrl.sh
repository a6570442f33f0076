#!/usr/bin/env bash
# The packaging part done by kctrl, whose files `kctrl package init` would write: package-build.yml says what to render and to push.
# usage: bench-kctrl.sh PROJECT IMAGE_LAYOUT IMAGE_DIGEST CRDS OUT   (kctrl, ytt, kbld, imgpkg, crane on PATH)
set -euo pipefail
. "$(dirname "$0")/bench-stage.sh"

mv "$out/kbld.yml" "$out/bundle/"
cat > "$out/bundle/package-build.yml" << EOF
apiVersion: kctrl.carvel.dev/v1alpha1
kind: PackageBuild
metadata: {name: $name}
spec:
  release: [{resource: {}}]
  template:
    spec:
      app:
        spec:
          template: [{ytt: {paths: [config]}}, {kbld: {paths: ["-", kbld.yml]}}]
          deploy: [{kapp: {}}]
      export:
        - imgpkgBundle: {image: "$to/$name", useKbldImagesLock: true}
          includePaths: [config]
EOF
{
  printf 'apiVersion: data.packaging.carvel.dev/v1alpha1\nkind: Package\nmetadata: {name: %s.0.0.0}\n' "$name"
  printf 'spec:\n  refName: %s\n  version: 0.0.0\n' "$name"
  printf -- '---\napiVersion: data.packaging.carvel.dev/v1alpha1\nkind: PackageMetadata\nmetadata: {name: %s}\nspec:\n' "$name"
  sed 's/^/  /' "$project/package/metadata.yaml"
} > "$out/bundle/package-resources.yml"
cat > "$out/repository/pkgrepo-build.yml" << EOF
apiVersion: kctrl.carvel.dev/v1alpha1
kind: PackageRepositoryBuild
metadata: {name: package-repository}
spec: {export: {imgpkgBundle: {image: "$to/package-repository"}}}
EOF
kctrl package release --yes --chdir "$out/bundle" --version "$version" --tag "$tag" --repo-output "$out/repository"
kctrl package repository release --yes --chdir "$out/repository" --version "$tag"

# What is left to do by hand, as in bench-by-hand.sh.
repository=$to/package-repository:$tag
imgpkg copy -b "$repository" --to-tar "$out/dist/$name-$version.tar" --tty=false > /dev/null
crane tag "$repository" latest 2> /dev/null
cp -r "$out/repository/packages/." "$out/dist/packages"
(cd "$out/dist" && find . -type f -print0 | sort -z | xargs -0 sha256sum > ../SHA256SUMS)
