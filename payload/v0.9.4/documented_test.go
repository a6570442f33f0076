package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// The alerts and the page of metrics ask for metrics that there are.
func TestDocumentedMetricsAreServed(t *testing.T) {
	described := make(chan *prometheus.Desc, 100)
	newMetrics().Describe(described)
	close(described)
	var served []string
	for each := range described {
		served = append(served, each.String())
	}
	all := strings.Join(served, "\n")
	for _, path := range []string{"../../examples/whereabouts/monitoring.yaml", "../../docs/how-to/monitor.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`whereabouts_[a-z_]*[a-z]`).FindAllString(string(text), -1)
		for _, name := range names {
			if !strings.Contains(all, fmt.Sprintf("fqName: %q", name)) {
				t.Errorf("%s names %s, which is not served", path, name)
			}
		}
		if len(names) < 5 {
			t.Errorf("%s names %d metrics", path, len(names))
		}
	}
}
