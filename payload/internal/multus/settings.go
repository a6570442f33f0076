package multus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/values"
)

// settings are what the package's ConfigMap says.
type settings struct {
	PrimaryConfFile        string `json:"primaryConfFile"`
	ReadinessIndicatorFile string `json:"readinessIndicatorFile"`
	NamespaceIsolation     bool   `json:"namespaceIsolation"`
	GlobalNamespaces       string `json:"globalNamespaces"`
	LogLevel               string `json:"logLevel"`
	LogFile                string `json:"logFile"`
	LogToStderr            *bool  `json:"logToStderr"`
	BinDir                 string `json:"binDir"`
}

// logLevels are those that Multus knows.
func logLevels() []string { return []string{"debug", "verbose", "error", "panic"} }

// parseSettings reads the settings. hostBinDir is where the installer puts the plugin: Multus looks for the other plugins there.
func parseSettings(text []byte, hostBinDir string) (settings, error) {
	var s settings
	if err := node.Object(text, &s); err != nil {
		return s, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return s, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if s.BinDir == "" {
		s.BinDir = hostBinDir
	}
	return s, s.check(hostBinDir)
}

func (s settings) check(hostBinDir string) error {
	for _, path := range []struct{ key, value string }{
		{"readinessIndicatorFile", s.ReadinessIndicatorFile}, {"logFile", s.LogFile}, {"binDir", s.BinDir},
	} {
		if path.value != "" && !filepath.IsAbs(path.value) {
			return fmt.Errorf("%s is %q, expected an absolute path on the host", path.key, path.value)
		}
	}
	if hostBinDir != "" && filepath.Clean(s.BinDir) != filepath.Clean(hostBinDir) {
		return fmt.Errorf("binDir is %q, but the plugin is installed in %s on the host (value %s)", s.BinDir, hostBinDir, values.MultusBinDir)
	}
	if s.LogLevel != "" && !slices.Contains(logLevels(), s.LogLevel) {
		return fmt.Errorf("logLevel is %q, expected one of %s", s.LogLevel, strings.Join(logLevels(), ", "))
	}
	return checkPrimary(s.PrimaryConfFile)
}

func checkPrimary(name string) error {
	switch {
	case name == "":
		return nil
	case name == ConfFile:
		return fmt.Errorf("primaryConfFile is %q, this package's own file: set the package value %s to that of the primary network", name, values.MultusPrimaryConf)
	case name != filepath.Base(name) || !slices.Contains(confSuffixes(), filepath.Ext(name)):
		return fmt.Errorf("primaryConfFile is %q, expected the name of a file in the CNI configuration directory that ends with %s (value %s)",
			name, strings.Join(confSuffixes(), ", "), values.MultusPrimaryConf)
	}
	return nil
}
