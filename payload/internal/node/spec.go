// Package node knows what the package keeps on a node: the plugin's three files in whereabouts.d, and the plugin.
package node

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/kubeconfig"
	"carvelwright.dev/payload/internal/values"
)

// Names on the host; the plugin looks for them there.
const (
	SubDir         = "whereabouts.d"
	ConfFile       = "whereabouts.conf"
	KubeconfigFile = "whereabouts.kubeconfig"
	NodeNameFile   = "nodename"
	PluginFile     = "whereabouts"
)

// inputLimit bounds what is read of a token, CA or conf: 1 MiB is what a ConfigMap or Secret can hold.
const inputLimit = 1 << 20

// Spec says from what the node's files are made and where they go.
type Spec struct {
	ConfDir           string // mounted CNI configuration directory
	HostConfDir       string // the same directory as the host sees it
	BinDir            string // mounted CNI binary directory; empty: the plugin is not this command's business
	Source            string // the image's own plugin
	ConfigFile        string // whereabouts.conf to copy
	NodeName          string
	Namespace         string
	ServiceAccountDir string // holds token and ca.crt
	APIHost, APIPort  string
}

// File is one file as it shall be in whereabouts.d.
type File struct {
	Name    string
	Mode    fs.FileMode
	Content []byte
}

// Files reads the inputs and gives the files in the order in which they are written: the kubeconfig last, so that the plugin
// never finds the means to ask without the settings for it.
func (s Spec) Files() ([]File, error) {
	conf, err := s.conf()
	if err != nil {
		return nil, err
	}
	access, err := s.kubeconfig()
	if err != nil {
		return nil, err
	}
	if s.NodeName == "" || strings.ContainsAny(s.NodeName, " \t\r\n/") {
		return nil, &fault.Error{Code: fault.Input, What: fmt.Sprintf("the node name %q is invalid", s.NodeName),
			Do: "set --node-name to spec.nodeName of the pod (downward API)"}
	}
	return []File{
		{ConfFile, 0o600, conf},
		{NodeNameFile, 0o600, []byte(s.NodeName)},
		{KubeconfigFile, 0o600, access},
	}, nil
}

func (s Spec) kubeconfig() ([]byte, error) {
	token, err := s.Token()
	if err != nil {
		return nil, err
	}
	caFile := filepath.Join(s.ServiceAccountDir, "ca.crt")
	ca, err := readInput(caFile)
	if err != nil {
		return nil, &fault.Error{Code: fault.Input, What: "read the cluster's CA certificate", Path: caFile, Err: err,
			Do: "mount a projected service account volume with ca.crt"}
	}
	return s.render(token, ca, caFile)
}

// render makes the kubeconfig's text; caFile is for messages.
func (s Spec) render(token string, ca []byte, caFile string) ([]byte, error) {
	// As the plugin does when it reads the kubeconfig: with none that can be parsed it refuses every call.
	if !x509.NewCertPool().AppendCertsFromPEM(ca) {
		return nil, &fault.Error{Code: fault.Input, What: "the cluster's CA certificate", Path: caFile,
			Err: errors.New("holds no PEM certificate that can be parsed"), Do: "check the ConfigMap kube-root-ca.crt of the namespace"}
	}
	if s.APIHost == "" || s.APIPort == "" {
		return nil, &fault.Error{Code: fault.Input, What: "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not both set",
			Do: "run this in a pod, or set both"}
	}
	server, err := kubeconfig.ServerURL(s.APIHost, s.APIPort)
	if err != nil {
		return nil, &fault.Error{Code: fault.Input, What: "the API server's address", Err: err,
			Do: "check KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT of the pod"}
	}
	text, err := kubeconfig.Render(kubeconfig.Access{Server: server, CA: ca, Token: token, Namespace: s.Namespace})
	if err != nil {
		return nil, &fault.Error{Code: fault.Input, What: "create the kubeconfig", Err: err, Do: "set --namespace"}
	}
	return text, nil
}

// Token gives the service account's token as it is now. No error text holds any part of it.
func (s Spec) Token() (string, error) {
	path := filepath.Join(s.ServiceAccountDir, "token")
	raw, err := readInput(path)
	if err != nil {
		return "", &fault.Error{Code: fault.Input, What: "read the service account token", Path: path, Err: err,
			Do: "mount a projected service account token"}
	}
	return parseToken(raw, path)
}

func parseToken(raw []byte, path string) (string, error) {
	token := strings.TrimSpace(string(raw))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", &fault.Error{Code: fault.Input, What: "the service account token", Path: path,
			Err: errors.New("is empty or not a single word of ASCII characters"), Do: "mount a projected service account token"}
	}
	return token, nil
}

func (s Spec) conf() ([]byte, error) {
	text, err := readInput(s.ConfigFile)
	if err != nil {
		return nil, &fault.Error{Code: fault.Input, What: "read whereabouts.conf", Path: s.ConfigFile, Err: err,
			Do: "mount the package's ConfigMap there, as a directory"}
	}
	if err := s.checkConf(text); err != nil {
		return nil, &fault.Error{Code: fault.Input, What: "whereabouts.conf", Path: s.ConfigFile, Err: err,
			Do: "restore the package's ConfigMap to what the package renders"}
	}
	return text, nil
}

// checkConf refuses what would fail every ADD of the node later: no JSON object, or paths to files that are not written.
func (s Spec) checkConf(text []byte) error {
	var conf struct {
		ConfigurationPath string `json:"configuration_path"`
		Kubernetes        struct {
			Kubeconfig string `json:"kubeconfig"`
		} `json:"kubernetes"`
	}
	if trimmed := bytes.TrimSpace(text); len(trimmed) == 0 || trimmed[0] != '{' {
		return errors.New("is not a JSON object")
	}
	if err := json.Unmarshal(text, &conf); err != nil {
		return fmt.Errorf("is not valid JSON: %w", err)
	}
	dir := filepath.Join(s.HostConfDir, SubDir)
	if want := filepath.Join(dir, KubeconfigFile); filepath.Clean(conf.Kubernetes.Kubeconfig) != want {
		return fmt.Errorf("kubernetes.kubeconfig is %q, but the kubeconfig is written to %s on the host (value %s)",
			conf.Kubernetes.Kubeconfig, want, values.ConfDir)
	}
	if conf.ConfigurationPath != "" && filepath.Clean(conf.ConfigurationPath) != dir {
		return fmt.Errorf("configuration_path is %q, but nodename is written to the directory %s on the host (value %s)",
			conf.ConfigurationPath, dir, values.ConfDir)
	}
	return nil
}

func readInput(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err) // the path is in the message already
	}
	defer f.Close()
	return readLimited(f)
}

func readLimited(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, inputLimit+1))
	if err != nil {
		return nil, err
	}
	if len(text) > inputLimit {
		return nil, fmt.Errorf("is larger than %d bytes", inputLimit)
	}
	return text, nil
}
