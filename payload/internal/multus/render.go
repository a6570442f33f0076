package multus

import (
	"bytes"
	"encoding/json"
)

// network is the network configuration that makes the runtime call Multus. Its keys are those that Multus reads.
type network struct {
	CNIVersion             string            `json:"cniVersion,omitempty"`
	Name                   string            `json:"name"`
	Type                   string            `json:"type"`
	Capabilities           map[string]bool   `json:"capabilities,omitempty"`
	Kubeconfig             string            `json:"kubeconfig"`
	BinDir                 string            `json:"binDir,omitempty"`
	ReadinessIndicatorFile string            `json:"readinessindicatorfile,omitempty"`
	NamespaceIsolation     bool              `json:"namespaceIsolation,omitempty"`
	GlobalNamespaces       string            `json:"globalNamespaces,omitempty"`
	LogLevel               string            `json:"logLevel,omitempty"`
	LogFile                string            `json:"logFile,omitempty"`
	LogToStderr            *bool             `json:"logToStderr,omitempty"`
	Delegates              []json.RawMessage `json:"delegates"`
}

// networkTitle is upstream's: the runtime keeps what it knows of a pod's network under it.
const networkTitle = "multus-cni-network"

// render makes the configuration. The same input gives the same bytes.
func render(s settings, primary conf, kubeconfig string) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(network{
		CNIVersion:             primary.version,
		Name:                   networkTitle,
		Type:                   PluginFile,
		Capabilities:           primary.capabilities,
		Kubeconfig:             kubeconfig,
		BinDir:                 s.BinDir,
		ReadinessIndicatorFile: s.ReadinessIndicatorFile,
		NamespaceIsolation:     s.NamespaceIsolation,
		GlobalNamespaces:       s.GlobalNamespaces,
		LogLevel:               s.LogLevel,
		LogFile:                s.LogFile,
		LogToStderr:            s.LogToStderr,
		Delegates:              []json.RawMessage{primary.text},
	})
	return b.Bytes(), err
}
