package cleanup_test

import (
	"context"
	"fmt"
	"testing"

	"carvelwright.dev/payload/internal/cleanup"
	"carvelwright.dev/payload/internal/crashtest"
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/node/nodetest"
)

func TestMain(m *testing.M) {
	crashtest.Main(m, func(root string, open hostfs.Opener) error {
		_, err := cleanup.Run(context.Background(), open, options(nodetest.At(root)))
		return err
	})
}

// What a killed cleanup leaves, another one removes, and an install makes whole: both are tried after each call.
func TestKillBeforeEachChangingCall(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		for name, after := range map[string]func(t *testing.T, w nodetest.World, before string, when string){
			"cleaned up again": func(t *testing.T, w nodetest.World, before string, when string) {
				if _, err := cleanup.Run(context.Background(), crashtest.Open, options(w)); err != nil {
					t.Errorf("%s: %v", when, err)
				}
				if left := tree(t, w); left != before {
					t.Errorf("%s: left %v, was %v", when, left, before)
				}
			},
			"installed again": func(t *testing.T, w nodetest.World, _ string, when string) {
				if _, err := node.Install(context.Background(), crashtest.Open, w.Spec); err != nil {
					t.Errorf("%s: %v", when, err)
				}
				w.CheckWhole(t, when, 1)
			},
		} {
			t.Run(name, func(t *testing.T) {
				crashtest.ForEachCall(t, 8, func(at int) bool {
					when := fmt.Sprintf("killed before call %d", at)
					w, before := installed(t, kind)
					allowed := w.Before(t)
					for path := range allowed {
						allowed[path] = append(allowed[path], "")
					}
					killed := crashtest.Killed(t, w.Root, at)
					allowed.Check(t, when)
					if nodetest.Found(t, w.Plugin()) == "" && nodetest.Found(t, w.Kubeconfig()) != "" {
						t.Errorf("%s: the plugin went before its files", when)
					}
					w.CheckOrder(t, when)
					after(t, w, before, when+", then "+name)
					return killed
				})
			})
		}
	})
}
