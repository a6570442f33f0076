package values_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"carvelwright.dev/payload/internal/values"
)

// The messages' keys are held against the package's schema by the indentation of its YAML.
func TestKeysAreInTheSchema(t *testing.T) {
	text, err := os.ReadFile("../../../values-schema.yaml")
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
	for _, key := range []string{values.BinDir, values.ConfDir, values.DACOverride, values.LeaderElection} {
		if !keys[key] {
			t.Errorf("values-schema.yaml has no key %s", key)
		}
	}
}
