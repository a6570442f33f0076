// Package kubeconfig makes the kubeconfig file that the CNI plugin uses on the host.
package kubeconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Access is all that a kubeconfig says: where the API server is, whom to trust, who asks, and for which namespace.
type Access struct {
	Server    string // URL, from ServerURL
	CA        []byte // PEM
	Token     string
	Namespace string
	User      string // the name of the user and of the context
}

type cluster struct {
	Server string `json:"server"`
	CAData []byte `json:"certificate-authority-data"`
}

type user struct {
	Token string `json:"token"`
}

type contextRef struct {
	Cluster   string `json:"cluster"`
	User      string `json:"user"`
	Namespace string `json:"namespace"`
}

type named[T any] struct {
	Name string
	Key  string
	Body T
}

// MarshalJSON writes {"name": ..., KEY: ...}: the three lists of a kubeconfig differ only in that key.
func (n named[T]) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"name": n.Name, n.Key: n.Body})
}

type config struct {
	APIVersion     string              `json:"apiVersion"`
	Kind           string              `json:"kind"`
	Clusters       []named[cluster]    `json:"clusters"`
	Users          []named[user]       `json:"users"`
	Contexts       []named[contextRef] `json:"contexts"`
	CurrentContext string              `json:"current-context"`
}

// Render gives the file's text. It is JSON, which every kubeconfig reader takes (JSON is YAML) and which needs no
// quoting rules of our own around a token.
func Render(a Access) ([]byte, error) {
	if a.Namespace == "" {
		// The plugin falls back to kube-system silently and the others do not: two components would then use two pools.
		return nil, errors.New("the kubeconfig needs a namespace")
	}
	text, err := json.MarshalIndent(config{
		APIVersion:     "v1",
		Kind:           "Config",
		Clusters:       []named[cluster]{{"local", "cluster", cluster{a.Server, a.CA}}},
		Users:          []named[user]{{a.User, "user", user{a.Token}}},
		Contexts:       []named[contextRef]{{a.User, "context", contextRef{"local", a.User, a.Namespace}}},
		CurrentContext: a.User,
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the kubeconfig: %w", err)
	}
	return append(text, '\n'), nil
}

// ServerURL gives the API server's URL from a host (IPv4, IPv6 with or without brackets, or a DNS name) and a port.
func ServerURL(host, port string) (string, error) {
	number, err := strconv.Atoi(port)
	if err != nil || number < 1 || number > 65535 {
		return "", fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	bare := host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		bare = host[1 : len(host)-1]
	}
	if addr, err := netip.ParseAddr(bare); err == nil {
		if addr.Zone() != "" {
			return "", fmt.Errorf("address %q has a zone, which means nothing to another program", host)
		}
	} else if !isDNSName(host) {
		return "", fmt.Errorf("host %q is neither an IP address nor a DNS name", host)
	}
	return (&url.URL{Scheme: "https", Host: net.JoinHostPort(bare, strconv.Itoa(number))}).String(), nil
}

func isDNSName(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return false
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return true
}
