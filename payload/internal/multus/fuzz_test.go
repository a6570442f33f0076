package multus

import (
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/node"
)

// told: what is refused is refused in one line that can be shown anywhere.
func told(t *testing.T, err error) {
	text := (&fault.Error{Code: fault.Input, What: "x", Err: err}).Error()
	if text != fault.Line(text) || !utf8.ValidString(text) {
		t.Errorf("%q", text)
	}
}

// asMultus reads a configuration as Multus does before each ADD, and gives the types of the primary network's plugins.
func asMultus(t *testing.T, text []byte) (types []string, capabilities map[string]bool) {
	type pluginConf struct {
		CNIVersion, Name, Type string
		Capabilities           map[string]bool
		IPAM                   struct{ Type string }
		DNS                    struct {
			Nameservers, Search, Options []string
			Domain                       string
		}
		PrevResult map[string]any
	}
	var netconf struct {
		pluginConf
		Kubeconfig string
		Delegates  []map[string]any
	}
	if err := json.Unmarshal(text, &netconf); err != nil {
		t.Fatalf("Multus cannot read it: %v: %s", err, text)
	}
	if netconf.Type != "multus" || netconf.Kubeconfig != "/k" || len(netconf.Delegates) != 1 {
		t.Fatalf("%s", text)
	}
	delegate, err := json.Marshal(netconf.Delegates[0])
	if err != nil {
		t.Fatal(err)
	}
	var single pluginConf
	if err := json.Unmarshal(delegate, &single); err != nil {
		t.Fatalf("Multus cannot read its delegate: %v: %s", err, delegate)
	}
	if single.Type != "" {
		return []string{single.Type}, netconf.Capabilities
	}
	var list struct {
		CNIVersion, Name string
		DisableCheck     bool
		Plugins          []*pluginConf
	}
	if err := json.Unmarshal(delegate, &list); err != nil || len(list.Plugins) == 0 {
		t.Fatalf("Multus cannot read its delegate: %v: %s", err, delegate)
	}
	for _, p := range list.Plugins {
		types = append(types, p.Type)
	}
	return types, netconf.Capabilities
}

func FuzzPrimary(f *testing.F) {
	for _, text := range []string{single, list, own, ownList, ownThick, `{}`, `{} {}`, "\xef\xbb\xbf{}", `{"name": "a", "plugins": [null]}`,
		`{"name": "a", "type": "bridge", "Type": "multus"}`, `{"name": "a", "type": "multus", "TYPE": "bridge"}`,
		`{"name": "a", "type": "multus", "plugins": [{"type": "bridge"}]}`, `{"name": "a", "cniVersions": ["1.0.0", "1.1.0"], "plugins": [{"type": "b"}]}`,
		`{"name": "a", "type": "b", "ipam": "x"}`, `{"name": "a", "type": "b", "capabilities": {"x": null}}`} {
		f.Add(text, true)
		f.Add(text, false)
	}
	f.Fuzz(func(t *testing.T, text string, isList bool) {
		file := "10-a.conf"
		if isList {
			file = "10-a.conflist"
		}
		got, err := choose([]candidate{{file, []byte(text), nil}}, "", "")
		if err != nil {
			told(t, err)
			if !errors.Is(err, node.ErrWaiting) {
				t.Errorf("%v", err)
			}
			return
		}
		if got.file != file || filepath.Base(got.file) != file {
			t.Errorf("took %q", got.file)
		}
		out, err := render(settings{}, got.conf, "/k")
		if err != nil {
			t.Fatal(err)
		}
		types, capabilities := asMultus(t, out)
		for _, name := range types {
			if name == "" || strings.HasPrefix(name, "multus") && (name == "multus" || name == "multus-shim") {
				t.Errorf("Multus would call %q: %s", name, out)
			}
		}
		if !maps.Equal(capabilities, got.capabilities) && len(got.capabilities) > 0 {
			t.Errorf("capabilities %v became %v", got.capabilities, capabilities)
		}
		if again, _ := render(settings{}, got.conf, "/k"); string(again) != string(out) {
			t.Error("the same configuration gives other bytes")
		}
	})
}

func FuzzSettings(f *testing.F) {
	f.Add(`{"primaryConfFile": "", "readinessIndicatorFile": "", "namespaceIsolation": false, "globalNamespaces": "a,b", "logLevel": "error", "logFile": "", "logToStderr": true, "binDir": "/opt/cni/bin"}`)
	f.Add(`{"primaryConfFile": "10-a.conflist", "logFile": "/var/log/a\u0000"}`)
	f.Add(`{"binDir": "//opt/cni/../cni/bin"}`)
	f.Add(`{"logLevel": "x\ny"}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSettings([]byte(text), "/opt/cni/bin")
		if err != nil {
			told(t, err)
			return
		}
		for _, path := range []string{s.ReadinessIndicatorFile, s.LogFile} {
			if path != "" && !filepath.IsAbs(path) {
				t.Errorf("accepted %q", path)
			}
		}
		if filepath.Clean(s.BinDir) != "/opt/cni/bin" {
			t.Errorf("the plugins would be looked for in %q", s.BinDir)
		}
		if strings.Contains(s.PrimaryConfFile, "/") || s.PrimaryConfFile == ConfFile {
			t.Errorf("the primary network's file would be %q", s.PrimaryConfFile)
		}
		out, err := render(s, conf{text: []byte(single)}, "/k")
		if err != nil {
			t.Fatal(err)
		}
		asMultus(t, out)
	})
}
