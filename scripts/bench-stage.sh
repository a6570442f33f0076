# What the scripts that `make bench` compares with have in common, to be sourced by them with their arguments:
# a registry of their own with the image in it, the bundle's files, and the configuration that makes kbld use that image.
project=$1 layout=$2 digest=$3 crds=$4 out=$5
address=127.0.0.1:5057
to=$address/packages
name=whereabouts.tanzu.vmware.com
version=0.9.4+vmware.2-tkg.1
tag=${version/+/_}

rm -rf "$out" && mkdir -p "$out/registry" "$out/bundle" "$out/repository" "$out/dist/packages"
crane registry serve --address "$address" --disk "$out/registry" 2> /dev/null &
registry=$!
trap 'kill $registry; wait $registry 2> /dev/null || true' EXIT
until crane catalog "$address" > /dev/null 2>&1; do sleep 0.005; done

crane push "$layout" "$to/whereabouts:$tag" > /dev/null 2>&1
cp -r "$project/bundle/config" "$out/bundle/config"
cp -r "$crds" "$out/bundle/config/crds"
cp "$project/values-schema.yaml" "$out/bundle/config/"
cp -r "$(dirname "$0")/../src/carvelwright/library" "$out/bundle/config/carvelwright"
cat > "$out/bundle/config/release.star" << EOF
version = "$version"
upstream = "${version%%+*}"
platforms = ["linux/amd64", "linux/arm64"]
EOF
cat > "$out/kbld.yml" << EOF
apiVersion: kbld.k14s.io/v1alpha1
kind: Config
overrides:
  - {image: whereabouts, newImage: "$to/whereabouts@$digest", preresolved: true}
EOF
