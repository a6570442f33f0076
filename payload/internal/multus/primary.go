package multus

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"carvelwright.dev/payload/internal/node"
)

// conf is a network configuration that a runtime would take.
type conf struct {
	network      string          // its name
	version      string          // CNI version; may be empty, which means 0.1.0
	capabilities map[string]bool // all that any of its plugins has
	text         json.RawMessage // as Multus shall use it
}

// errOwn says that a configuration is Multus' own: as a delegate it would call itself without end.
var errOwn = errors.New("is a configuration of Multus")

// errShim says the same of a configuration of thick Multus, whose plugin is another one.
var errShim = fmt.Errorf("%w (thick)", errOwn)

// listSuffix: what a file is, a list of plugins or a single one, tells its name, as it does to the runtime.
const listSuffix = ".conflist"

// confSuffixes are those of the files that a runtime reads.
func confSuffixes() []string { return []string{".conf", listSuffix, ".json"} }

// plugin is what the CNI library reads of each plugin's configuration: what it cannot read, neither the runtime nor Multus can.
type plugin struct {
	Name         string          `json:"name"`
	CNIVersion   string          `json:"cniVersion"`
	Type         string          `json:"type"`
	Capabilities map[string]bool `json:"capabilities"`
	IPAM         struct {
		Type string `json:"type"`
	} `json:"ipam"`
	DNS struct {
		Nameservers []string `json:"nameservers"`
		Domain      string   `json:"domain"`
		Search      []string `json:"search"`
		Options     []string `json:"options"`
	} `json:"dns"`
	PrevResult map[string]any `json:"prevResult"`
}

// document is what it reads of a file: a single plugin's configuration, or a list of them.
type document struct {
	single       plugin
	CNIVersions  []string `json:"cniVersions"`
	DisableCheck bool     `json:"disableCheck"`
	DisableGC    bool     `json:"disableGC"`
	Plugins      []plugin `json:"plugins"`
}

// readDocument reads a configuration by way of a map, as Multus does: should a key be there twice, in whatever case, both see
// the same one.
func readDocument(text []byte) (d document, err error) {
	var object map[string]any
	if err := node.Object(text, &object); err != nil {
		return d, err
	}
	sorted, err := json.Marshal(object)
	if err != nil {
		return d, err
	}
	if err := node.Object(sorted, &d.single); err != nil {
		return d, err
	}
	return d, node.Object(sorted, &d)
}

// networkName is the rule of the CNI specification, by which the runtime judges.
var networkName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`)

// parseConf reads a network configuration as the runtime would and refuses what the runtime would refuse, and what is Multus' own.
func parseConf(file string, text []byte) (conf, error) {
	d, err := readDocument(text)
	if err != nil {
		return conf{}, err
	}
	plugins := []plugin{d.single}
	if filepath.Ext(file) == listSuffix {
		plugins = d.Plugins
		switch {
		case len(plugins) == 0:
			return conf{}, errors.New("has no plugins")
		case d.single.Type != "":
			return conf{}, fmt.Errorf("has plugins, and a type (%q) as if it were a single one", d.single.Type)
		}
	}
	capabilities, err := checkPlugins(plugins)
	if err != nil {
		return conf{}, err
	}
	if !networkName.MatchString(d.single.Name) {
		return conf{}, fmt.Errorf("the network's name is %q, expected letters, digits, and any of _ . - after the first", d.single.Name)
	}
	version, err := latest(d.single.CNIVersion, d.CNIVersions)
	if err != nil {
		return conf{}, err
	}
	c := conf{network: d.single.Name, version: version, capabilities: capabilities, text: text}
	if version != d.single.CNIVersion {
		c.text, err = withVersion(text, version)
	}
	return c, err
}

// checkPlugins gives all that the runtime may ask of any of the plugins.
func checkPlugins(plugins []plugin) (capabilities map[string]bool, err error) {
	capabilities = map[string]bool{}
	for i, p := range plugins {
		switch p.Type {
		case "":
			return nil, fmt.Errorf("plugin %d has no type", i+1)
		case PluginFile:
			return nil, errOwn
		case "multus-shim":
			return nil, errShim
		}
		for name, has := range p.Capabilities {
			if has {
				capabilities[name] = true
			}
		}
	}
	return capabilities, nil
}

// newestVersion is the newest version of the CNI specification that this Multus knows.
const newestVersion = "1.1.0"

// latest gives the newest of the versions that Multus knows, as its CNI library chooses.
func latest(version string, more []string) (string, error) {
	newest, err := parseVersion(newestVersion)
	if err != nil {
		return "", err
	}
	var best []int
	chosen := ""
	for i, text := range append([]string{version}, more...) {
		if i == 0 && text == "" {
			continue
		}
		v, err := parseVersion(text)
		if err != nil {
			return "", err
		}
		if (i == 0 && len(more) == 0) || (slices.Compare(v, newest) <= 0 && slices.Compare(v, best) > 0) {
			best, chosen = v, text
		}
	}
	return chosen, nil
}

func parseVersion(text string) ([]int, error) {
	parts := strings.Split(text, ".")
	var numbers []int
	for _, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || len(parts) != 3 {
			return nil, fmt.Errorf("cniVersion is %q, expected MAJOR.MINOR.PATCH", text)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// withVersion puts the version into a configuration that has it among cniVersions alone: Multus reads only cniVersion.
func withVersion(text []byte, version string) (json.RawMessage, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return nil, err
	}
	quoted, err := json.Marshal(version)
	if err != nil {
		return nil, err
	}
	object["cniVersion"] = quoted
	return json.Marshal(object)
}

// candidate is a file of the configuration directory that a runtime would read.
type candidate struct {
	file string
	text []byte
	err  error // why it cannot be read; nil when text is what it holds
}

// choice is the primary network's configuration.
type choice struct {
	conf
	file    string
	reason  string
	skipped []string // what sorts before it, and why it was not taken
}

func (c choice) why() string {
	text := fmt.Sprintf("primary network %s from %s: %s", c.network, c.file, c.reason)
	if len(c.skipped) > 0 {
		text += "; skipped " + strings.Join(c.skipped, ", ")
	}
	return text
}

// waiting is why there is no primary network's configuration.
type waiting struct{ text string }

func (w waiting) Error() string { return w.text + "; " + node.ErrWaiting.Error() }

func (w waiting) Is(target error) bool { return target == node.ErrWaiting }

// choose takes the file that is named or, when none is, the first by name that the runtime would take without Multus. A file
// that was taken before and is there, but not valid, is about to be rewritten: no other one is taken for it.
func choose(candidates []candidate, named, previous string) (choice, error) {
	files := map[string]candidate{}
	for _, c := range candidates {
		files[c.file] = c
	}
	delete(files, ConfFile)
	if named != "" {
		return chooseNamed(files, named)
	}
	var skipped []string
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if err := files[file].err; err != nil {
			// The runtime may well read it: a network that sorts behind it would be another one than the node's.
			return choice{}, waiting{fmt.Sprintf("%s may be the primary network's configuration and cannot be read: %v", file, err)}
		}
		conf, err := parseConf(file, files[file].text)
		if err == nil {
			return choice{conf, file, "it is the first by name", skipped}, nil
		}
		if file == previous && !errors.Is(err, errOwn) {
			return choice{}, waiting{fmt.Sprintf("the primary network's configuration %s %v", file, err)}
		}
		skipped = append(skipped, fmt.Sprintf("%s (%v)", file, err))
	}
	text := "there is no primary network's configuration yet"
	if len(skipped) > 0 {
		text += ": skipped " + strings.Join(skipped, ", ")
	}
	return choice{}, waiting{text}
}

func chooseNamed(files map[string]candidate, named string) (choice, error) {
	c, ok := files[named]
	if !ok {
		return choice{}, waiting{fmt.Sprintf("the primary network's configuration %s, which the package names, is not there yet", named)}
	}
	if c.err != nil {
		return choice{}, waiting{fmt.Sprintf("the primary network's configuration %s, which the package names, cannot be read: %v", named, c.err)}
	}
	conf, err := parseConf(named, c.text)
	if err != nil {
		return choice{}, waiting{fmt.Sprintf("the primary network's configuration %s, which the package names, %v", named, err)}
	}
	return choice{conf, named, "the package names it", nil}, nil
}
