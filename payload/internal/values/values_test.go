package values_test

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"carvelwright.dev/payload/internal/values"
)

// The messages' keys are held against each package's schema by the indentation of its YAML.
func TestKeysAreInTheSchema(t *testing.T) {
	for schema, wanted := range map[string][]string{
		"values-schema.yaml":                     {values.BinDir, values.ConfDir, values.DACOverride, values.LeaderElection, values.Allocation},
		"packages/multus-cni/values-schema.yaml": {values.MultusBinDir, values.MultusConfDir, values.MultusDACOverride, values.MultusPrimaryConf},
	} {
		text, err := os.ReadFile("../../../" + schema)
		if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(schema, "packages/") {
			t.Logf("%s is not in this tree", schema)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_, document, _ := strings.Cut(string(text), "\n---\n")
		keys := map[string]bool{}
		var path []string
		for _, m := range regexp.MustCompile(`(?m)^((?:  )*)([a-z_]+):`).FindAllStringSubmatch(document, -1) {
			path = append(path[:min(len(m[1])/2, len(path))], m[2])
			keys[strings.Join(path, ".")] = true
		}
		for _, key := range wanted {
			if !keys[key] {
				t.Errorf("%s has no key %s", schema, key)
			}
		}
	}
}
