package whereabouts

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"carvelwright.dev/payload/internal/fault"
)

func FuzzConf(f *testing.F) {
	f.Add(`{"datastore": "kubernetes", "log_level": "info", "configuration_path": "/etc/cni/net.d/whereabouts.d",
	  "kubernetes": {"kubeconfig": "/etc/cni/net.d/whereabouts.d/whereabouts.kubeconfig"}}`)
	f.Add(`{"kubernetes": {"kubeconfig": "/etc/cni/net.d//whereabouts.d/x/../whereabouts.kubeconfig"}, "leader_lease_duration": 1e3}`)
	f.Add(`{"kubernetes": {"kubeconfig": "a"}, "Kubernetes": {"kubeconfig": "/etc/cni/net.d/whereabouts.d/whereabouts.kubeconfig"}}`)
	f.Add(`{} {}`)
	f.Add(`{"kubernetes": {"kubeconfig": "/etc/cni/net.d/whereabouts.d/whereabouts.kubeconfig"}, "configuration_path": "/"}`)
	f.Add(`{"kubernetes": {}}`)
	f.Add("\xef\xbb\xbf{}")
	f.Fuzz(func(t *testing.T, text string) {
		if err := checkConf("/etc/cni/net.d", []byte(text)); err != nil {
			// Refused in one line that can be shown anywhere.
			line := (&fault.Error{Code: fault.Input, What: "x", Err: err}).Error()
			if line != fault.Line(line) || !utf8.ValidString(line) {
				t.Errorf("%q", line)
			}
			return
		}
		// What the plugin makes of it: an object in which it finds the kubeconfig that we write, and the directory of nodename.
		var conf struct {
			ConfigurationPath string `json:"configuration_path"`
			Kubernetes        struct{ Kubeconfig string }
		}
		var object map[string]any
		if err := json.Unmarshal([]byte(text), &object); err != nil || object == nil {
			t.Fatalf("accepted, but: %v", err)
		}
		if err := json.Unmarshal([]byte(text), &conf); err != nil {
			t.Fatalf("accepted, but: %v", err)
		}
		if filepath.Clean(conf.Kubernetes.Kubeconfig) != "/etc/cni/net.d/whereabouts.d/whereabouts.kubeconfig" {
			t.Errorf("the plugin would look for %q", conf.Kubernetes.Kubeconfig)
		}
		if path := conf.ConfigurationPath; path != "" && filepath.Clean(path) != "/etc/cni/net.d/whereabouts.d" {
			t.Errorf("the plugin would look for nodename in %q", path)
		}
	})
}
