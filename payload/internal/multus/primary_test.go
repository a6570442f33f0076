package multus

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/node"
)

const (
	single = `{"cniVersion": "0.3.1", "name": "pods", "type": "bridge", "mtu": 9007199254740993, "capabilities": {"mac": true, "ips": false}}`
	list   = `{"cniVersion": "1.0.0", "name": "k8s-pod-network", "plugins": [{"type": "calico", "note": "<&>"},
	  {"type": "portmap", "capabilities": {"portMappings": true}}, {"type": "bandwidth", "capabilities": {"bandwidth": true, "portMappings": false}}]}`
	own      = `{"cniVersion": "0.3.1", "name": "multus-cni-network", "type": "multus", "delegates": []}`
	ownList  = `{"cniVersion": "1.0.0", "name": "multus-cni-network", "plugins": [{"type": "multus", "delegates": []}]}`
	ownThick = `{"cniVersion": "0.3.1", "name": "multus-cni-network", "type": "multus-shim"}`
)

// candidates makes them from NAME=TEXT.
func candidates(files map[string]string) (all []candidate) {
	for file, text := range files {
		all = append(all, candidate{file: file, text: []byte(text)})
	}
	return all
}

func TestChoice(t *testing.T) {
	for name, c := range map[string]struct {
		files           map[string]string
		named, previous string
		want            string // the file; empty: none
		says            []string
	}{
		"a list":      {map[string]string{"10-calico.conflist": list}, "", "", "10-calico.conflist", []string{"k8s-pod-network", "first by name"}},
		"a single":    {map[string]string{"10-bridge.conf": single}, "", "", "10-bridge.conf", []string{"pods"}},
		"json":        {map[string]string{"10-bridge.json": single}, "", "", "10-bridge.json", nil},
		"several":     {map[string]string{"20-b.conf": single, "10-a.conflist": list, "15-c.conf": single}, "", "", "10-a.conflist", nil},
		"by name":     {map[string]string{"9-b.conf": single, "10-a.conflist": list}, "", "", "10-a.conflist", nil},
		"named":       {map[string]string{"10-a.conflist": list, "20-b.conf": single}, "20-b.conf", "", "20-b.conf", []string{"the package names it"}},
		"named twice": {map[string]string{"10-a.conflist": list, "20-b.conf": single}, "20-b.conf", "10-a.conflist", "20-b.conf", nil},
		"invalid before": {map[string]string{"05-broken.conf": "{", "06-empty.conf": "", "07-none.conflist": `{"name": "x", "plugins": []}`, "10-a.conflist": list}, "", "",
			"10-a.conflist", []string{"05-broken.conf (is not valid JSON", "06-empty.conf (is not a JSON object)", "07-none.conflist (has no plugins)"}},
		"upstream's leftovers": {map[string]string{"00-multus.conf": own, "00-multus.conflist": ownList, "01-thick.conf": ownThick, "10-a.conflist": list}, "", "",
			"10-a.conflist", []string{"00-multus.conf (is a configuration of Multus)", "00-multus.conflist (is", "01-thick.conf (is"}},
		"Multus under another name": {map[string]string{"05-net.conf": own, "06-net.conflist": ownList}, "", "", "", []string{"05-net.conf (is a configuration of Multus)"}},
		"ours":                      {map[string]string{ConfFile: single}, "", "", "", []string{"no primary network"}},
		"nothing":                   {nil, "", "", "", []string{"no primary network's configuration yet", "nothing is changed"}},
		"named and absent":          {map[string]string{"10-a.conflist": list}, "20-b.conf", "", "", []string{"20-b.conf", "not there yet"}},
		"named and invalid":         {map[string]string{"10-a.conflist": list, "20-b.conf": "{"}, "20-b.conf", "", "", []string{"20-b.conf", "not valid JSON"}},
		"named and Multus' own":     {map[string]string{"10-a.conflist": list, "00-multus.conf": own}, "00-multus.conf", "", "", []string{"is a configuration of Multus"}},
		"named and ours":            {map[string]string{"10-a.conflist": list, ConfFile: single}, ConfFile, "", "", []string{ConfFile}},
		"rewritten right now":       {map[string]string{"10-a.conflist": "{", "20-b.conf": single}, "", "10-a.conflist", "", []string{"10-a.conflist", "not valid JSON"}},
		"gone":                      {map[string]string{"20-b.conf": single}, "", "10-a.conflist", "20-b.conf", nil},
		"one that comes before":     {map[string]string{"10-a.conflist": list, "20-b.conf": single}, "", "20-b.conf", "10-a.conflist", nil},
		"invalid one before":        {map[string]string{"10-a.conflist": "{", "20-b.conf": single}, "", "20-b.conf", "20-b.conf", []string{"10-a.conflist (is not"}},
		"taken over by Multus":      {map[string]string{"10-a.conf": own, "20-b.conf": single}, "", "10-a.conf", "20-b.conf", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := choose(candidates(c.files), c.named, c.previous)
			if got.file != c.want || errors.Is(err, node.ErrWaiting) != (c.want == "") || (err != nil) != (c.want == "") {
				t.Fatalf("took %q: %v", got.file, err)
			}
			text := got.why()
			if err != nil {
				text = err.Error()
			}
			for _, word := range c.says {
				if !strings.Contains(text, word) {
					t.Errorf("%q does not say %q", text, word)
				}
			}
		})
	}
}

// What cannot be read may be the node's primary network: no other one is taken for it, unless it sorts before.
func TestUnreadableFile(t *testing.T) {
	files := []candidate{{"10-a.conf", nil, os.ErrPermission}, {"20-b.conf", []byte(single), nil}}
	if _, err := choose(files, "", ""); !errors.Is(err, node.ErrWaiting) || !strings.Contains(err.Error(), "10-a.conf may be") || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("%v", err)
	}
	if _, err := choose(files, "10-a.conf", ""); !errors.Is(err, node.ErrWaiting) || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("%v", err)
	}
	if got, err := choose(files, "20-b.conf", ""); err != nil || got.file != "20-b.conf" {
		t.Errorf("%v", err)
	}
	if got, err := choose(append(files, candidate{"05-c.conf", []byte(single), nil}), "", ""); err != nil || got.file != "05-c.conf" {
		t.Errorf("%v", err)
	}
}

// What is in the directory beside plain files.
func TestReadDirectory(t *testing.T) {
	path := t.TempDir()
	dir, err := hostfs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for name, text := range map[string]string{"10-a.conf": single, "20-b.conflist": list, "30-c.json": single, ConfFile: own, "README": "x", "40.conf.bak": single} {
		if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	huge := filepath.Join(path, "60-huge.conf")
	if err := errors.Join(os.Mkdir(filepath.Join(path, "50-d.conf"), 0o755), os.Symlink("10-a.conf", filepath.Join(path, "70-link.conf")),
		syscall.Mkfifo(filepath.Join(path, "80-pipe.conf"), 0o600), os.WriteFile(huge, nil, 0o600), os.Truncate(huge, 2<<20)); err != nil {
		t.Fatal(err)
	}
	found, err := read(Package(), dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range found {
		got[c.file] = fmt.Sprint(c.err)
	}
	want := map[string]string{"10-a.conf": "<nil>", "20-b.conflist": "<nil>", "30-c.json": "<nil>", "60-huge.conf": "is larger than 1048576 bytes",
		"70-link.conf": "is a symbolic link: put the file itself there", "80-pipe.conf": "not a regular file"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// What no runtime would take.
func TestInvalidConfs(t *testing.T) {
	for text, word := range map[string]string{
		``:                                   "not a JSON object",
		`null`:                               "not a JSON object",
		`[]`:                                 "not a JSON object",
		`"a"`:                                "not a JSON object",
		`{} {}`:                              "not valid JSON",
		`{"name": "a"`:                       "not valid JSON",
		`{"name": "a", "type": 1}`:           "type is a JSON number, expected a string",
		`{"name": "a"}`:                      "no type",
		`{"type": "bridge"}`:                 `name is ""`,
		`{"name": "../a", "type": "bridge"}`: `name is "../a"`,
		`{"name": "a\nb", "type": "bridge"}`: "name is",
		`{"name": "a", "type": "bridge", "cniVersion": "1"}`:            `cniVersion is "1"`,
		`{"name": "a", "type": "bridge", "cniVersion": "1.0.x"}`:        "cniVersion",
		`{"name": "a", "type": "bridge", "cniVersion": 1}`:              "cniVersion is a JSON number",
		`{"name": "a", "type": "bridge", "capabilities": {"a": "yes"}}`: "is a JSON string, expected true or false",
		`{"name": "a", "plugins": [{"type": "bridge"}]}`:                "no type", // a list in a file for a single one
	} {
		if _, err := parseConf("a.conf", []byte(text)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v, want %q", text, err, word)
		}
	}
	for text, word := range map[string]string{
		`{"name": "a", "type": "bridge"}`:                                    "no plugins",
		`{"name": "a", "plugins": {}}`:                                       "plugins is a JSON object, expected an array",
		`{"name": "a", "plugins": [1]}`:                                      "is a JSON number, expected an object",
		`{"name": "a", "plugins": [{"type": "bridge"}, {}]}`:                 "plugin 2 has no type",
		`{"plugins": [{"type": "bridge"}]}`:                                  "name is",
		`{"name": "a", "plugins": [{"type": "bridge"}], "cniVersions": 1}`:   "cniVersions is a JSON number, expected an array",
		`{"name": "a", "plugins": [{"type": "b"}], "cniVersions": ["new"]}`:  `cniVersion is "new"`,
		`{"name": "a", "plugins": [{"type": "b"}, {"type": "multus-shim"}]}`: "configuration of Multus",
	} {
		if _, err := parseConf("a.conflist", []byte(text)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v, want %q", text, err, word)
		}
	}
}

func TestVersions(t *testing.T) {
	for conf, want := range map[string]string{
		`"cniVersion": "0.3.1"`: "0.3.1",
		`"cniVersion": "1.1.0"`: "1.1.0",
		`"cniVersion": "9.0.0"`: "9.0.0", // refused by the plugins, and not by us
		`"other": 1`:            "",
		`"cniVersion": "0.4.0", "cniVersions": ["0.3.1", "1.0.0"]`:          "1.0.0",
		`"cniVersions": ["0.3.1", "1.1.0", "1.2.0"]`:                        "1.1.0",
		`"cniVersion": "1.0.0", "cniVersions": ["0.4.0"]`:                   "1.0.0",
		`"cniVersions": ["2.0.0"]`:                                          "",
		`"cniVersion": "0.10.0", "cniVersions": ["0.9.0"]`:                  "0.10.0",
		`"cniVersion": "2.0.0", "cniVersions": ["0.4.0", "0.4.0", "0.3.1"]`: "0.4.0",
	} {
		text := fmt.Sprintf(`{"name": "a", "plugins": [{"type": "bridge", "mtu": 1}], %s}`, conf)
		c, err := parseConf("a.conflist", []byte(text))
		if err != nil || c.version != want {
			t.Errorf("%s: %q %v, want %q", conf, c.version, err, want)
			continue
		}
		// The delegate says it too: Multus, unlike the runtime, looks for it there and under that name.
		var delegate struct {
			CNIVersion string `json:"cniVersion"`
			Plugins    []struct{ MTU int }
		}
		if err := json.Unmarshal(c.text, &delegate); err != nil || delegate.CNIVersion != want || delegate.Plugins[0].MTU != 1 {
			t.Errorf("%s: the delegate is %s (%v)", conf, c.text, err)
		}
	}
}

func rendered(t *testing.T, file, primary, config string) map[string]any {
	t.Helper()
	s, err := parseSettings([]byte(config), "/opt/cni/bin")
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseConf(file, []byte(primary))
	if err != nil {
		t.Fatal(err)
	}
	text, err := render(s, c, "/etc/cni/net.d/multus-cni.d/multus.kubeconfig")
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func object(t *testing.T, text string) (object map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func TestConfiguration(t *testing.T) {
	for name, c := range map[string]struct{ file, primary, config, want string }{
		"list and defaults": {"10-a.conflist", list, `{}`, `{"cniVersion": "1.0.0", "name": "multus-cni-network", "type": "multus",
		  "capabilities": {"portMappings": true, "bandwidth": true}, "kubeconfig": "/etc/cni/net.d/multus-cni.d/multus.kubeconfig",
		  "binDir": "/opt/cni/bin", "delegates": [` + list + `]}`},
		"single": {"10-a.conf", single, `{"logLevel": "error", "logToStderr": true, "primaryConfFile": "10-a.conf"}`, `{"cniVersion": "0.3.1", "name": "multus-cni-network", "type": "multus",
		  "capabilities": {"mac": true}, "kubeconfig": "/etc/cni/net.d/multus-cni.d/multus.kubeconfig", "logLevel": "error", "logToStderr": true,
		  "binDir": "/opt/cni/bin", "delegates": [` + single + `]}`},
		"no version, no capabilities, all settings": {"10-a.conf", `{"name": "a", "type": "bridge"}`,
			`{"readinessIndicatorFile": "/run/ready", "namespaceIsolation": true, "globalNamespaces": "a,b", "logLevel": "debug", "logFile": "/var/log/multus.log",
			  "logToStderr": false, "binDir": "/opt/cni/bin/"}`,
			`{"name": "multus-cni-network", "type": "multus", "kubeconfig": "/etc/cni/net.d/multus-cni.d/multus.kubeconfig", "binDir": "/opt/cni/bin/",
			  "readinessindicatorfile": "/run/ready", "namespaceIsolation": true, "globalNamespaces": "a,b", "logLevel": "debug",
			  "logFile": "/var/log/multus.log", "logToStderr": false, "delegates": [{"name": "a", "type": "bridge"}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			if got, want := rendered(t, c.file, c.primary, c.config), object(t, c.want); !reflect.DeepEqual(got, want) {
				t.Errorf("got %v\nwant %v", got, want)
			}
		})
	}
}

// Numbers that a floating point number cannot hold, and characters that JSON in a web page would quote, stay.
func TestPrimaryIsCopiedExactly(t *testing.T) {
	for file, text := range map[string]string{"a.conf": single, "a.conflist": list} {
		c, err := parseConf(file, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		out, err := render(settings{}, c, "/k")
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"9007199254740993", "<&>"} {
			if strings.Contains(text, part) && !strings.Contains(string(out), part) {
				t.Errorf("%s became %s", text, out)
			}
		}
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	for text, words := range map[string][]string{
		``:                                   {"not a JSON object"},
		`[]`:                                 {"not a JSON object"},
		`{`:                                  {"not valid JSON"},
		`{} {}`:                              {"not valid JSON"},
		`{"readinessindicatorfile": "/a"} x`: {"not valid JSON"},
		`{"primaryConf": "x"}`:               {`unknown field "primaryConf"`},
		`{"logLevel": "warn"}`:               {`"warn"`, "debug, verbose, error, panic"},
		`{"logLevel": "Error"}`:              {`"Error"`},
		`{"logFile": "multus.log"}`:          {"logFile", "absolute path"},
		`{"readinessIndicatorFile": "a/b"}`:  {"readinessIndicatorFile", "absolute path"},
		`{"binDir": "opt/cni/bin"}`:          {"binDir", "absolute path"},
		`{"binDir": "/usr/libexec/cni"}`:     {"/usr/libexec/cni", "/opt/cni/bin", "multus.config.cni.bin_dir"},
		`{"primaryConfFile": "/etc/a.conf"}`: {"primaryConfFile", "name of a file", "multus.config.primary_conf_file"},
		`{"primaryConfFile": "../a.conf"}`:   {"primaryConfFile"},
		`{"primaryConfFile": "00-multus-cni.conf"}`: {"primaryConfFile", "this package's own"},
		`{"primaryConfFile": "10-calico.txt"}`:      {"primaryConfFile", ".conflist"},
		`{"namespaceIsolation": "yes"}`:             {"namespaceIsolation"},
		`{"globalNamespaces": ["a"]}`:               {"globalNamespaces"},
	} {
		_, err := parseSettings([]byte(text), "/opt/cni/bin")
		if err == nil {
			t.Errorf("%s: accepted", text)
			continue
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %q does not say %q", text, err, word)
			}
		}
	}
}
