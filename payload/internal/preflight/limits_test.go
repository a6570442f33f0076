package preflight_test

import (
	"strings"
	"testing"

	"carvelwright.dev/payload/internal/preflight"
)

func TestLowLimitsAreWarnedOf(t *testing.T) {
	const memory, cpu = "whereabouts.config.resources.limits.memory", "ip_reconciler.config.resources.limits.cpu"
	for text, warned := range map[string]bool{
		memory + "=50Mi": true, memory + "=50M": true, memory + "=99.9Mi": true, memory + "=100Mi": false, memory + "=1Gi": false, memory + "=209715200": false,
		cpu + "=100m": true, cpu + "=0.1": true, cpu + "=200m": false, cpu + "=1": false,
	} {
		limit, err := preflight.ParseLimit(text)
		if err != nil {
			t.Fatal(err)
		}
		problems := preflight.LimitProblems([]preflight.Limit{limit})
		if (len(problems) == 1) != warned {
			t.Errorf("%s: %v", text, problems)
		}
		for _, problem := range problems {
			if key, quantity, _ := strings.Cut(text, "="); problem.Blocks || !strings.Contains(problem.Text, key+" is "+quantity) {
				t.Errorf("%s: %+v", text, problem)
			}
		}
	}
}

func TestNonsenseIsNoLimit(t *testing.T) {
	for _, text := range []string{"", "50Mi", "a.memory", "a.memory=", "a.memory=x", "a.memory=5Q", "a.memory=-1", "a.disk=5Mi", "a.memory=5iM"} {
		if limit, err := preflight.ParseLimit(text); err == nil {
			t.Errorf("%q was taken: %+v", text, limit)
		}
	}
}
