// Package node knows what a package keeps on a node: the plugin's files in a directory of its own, the plugin, and a network
// configuration where the plugin is a network.
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
	"reflect"
	"strings"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/kubeconfig"
)

// InputLimit bounds what is read of a token, CA, settings or configuration: 1 MiB is what a ConfigMap or Secret can hold.
const InputLimit = 1 << 20

// Spec says from what the node's files are made and where they go.
type Spec struct {
	Package           Package
	ConfDir           string // mounted CNI configuration directory
	HostConfDir       string // the same directory as the host sees it
	BinDir            string // mounted CNI binary directory; empty: the plugin is not this command's business
	HostBinDir        string // the same directory as the host sees it; only for a package with a network configuration
	Source            string // the image's own plugin
	ConfigFile        string // the settings
	NodeName          string
	Namespace         string
	ServiceAccountDir string // holds token and ca.crt
	APIHost, APIPort  string
}

// File is one file as it shall be on the host.
type File struct {
	Name    string
	Mode    fs.FileMode
	Content []byte
}

// HostPath gives the path of a file in the package's directory as the host sees it.
func (s Spec) HostPath(name string) string {
	return filepath.Join(s.HostConfDir, s.Package.SubDir, name)
}

// Files reads the inputs and gives the files of the package's directory in the order in which they are written: the kubeconfig
// last, so that the plugin never finds the means to ask without the settings for it.
func (s Spec) Files() ([]File, error) {
	config, err := s.config()
	if err != nil {
		return nil, err
	}
	files, err := s.Package.Files(s, config)
	if err != nil {
		return nil, s.ConfigError(err)
	}
	access, err := s.kubeconfig()
	if err != nil {
		return nil, err
	}
	if s.NodeName == "" || strings.ContainsAny(s.NodeName, " \t\r\n/") {
		return nil, &fault.Error{Code: fault.Input, What: fmt.Sprintf("the node name %q is invalid", s.NodeName),
			Do: "set --node-name to spec.nodeName of the pod (downward API)"}
	}
	return append(files, File{s.Package.Kubeconfig, 0o600, access}), nil
}

// config reads the settings.
func (s Spec) config() ([]byte, error) {
	text, err := readInput(s.ConfigFile)
	if err != nil {
		return nil, &fault.Error{Code: fault.Input, What: "read " + s.Package.Config, Path: s.ConfigFile, Err: err,
			Do: "mount the package's ConfigMap there, as a directory"}
	}
	return text, nil
}

// ConfigError says that the settings are wrong.
func (s Spec) ConfigError(err error) error {
	return &fault.Error{Code: fault.Input, What: s.Package.Config, Path: s.ConfigFile, Err: err,
		Do: "restore the package's ConfigMap to what the package renders"}
}

// Object reads a JSON object into a value, as every reader of settings and network configurations does.
func Object(text []byte, into any) error {
	if trimmed := bytes.TrimSpace(text); len(trimmed) == 0 || trimmed[0] != '{' {
		return errors.New("is not a JSON object")
	}
	err := json.Unmarshal(text, into)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s is a JSON %s, expected %s", wrong.Field, wrong.Value, jsonType(wrong.Type))
	}
	if err != nil {
		return fmt.Errorf("is not valid JSON: %w", err)
	}
	return nil
}

// jsonType gives JSON's name of the type.
func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a number"
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
	access := kubeconfig.Access{Server: server, CA: ca, Token: token, Namespace: s.Namespace, User: s.Package.User}
	text, err := kubeconfig.Render(access)
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

func readInput(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err) // the path is in the message already
	}
	defer f.Close()
	return ReadLimited(f)
}

// ReadLimited reads all of r, which may be no larger than InputLimit.
func ReadLimited(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, InputLimit+1))
	if err != nil {
		return nil, err
	}
	if len(text) > InputLimit {
		return nil, fmt.Errorf("is larger than %d bytes", InputLimit)
	}
	return text, nil
}
