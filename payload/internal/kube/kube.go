// Package kube is the little of the Kubernetes API that the installer needs: get, list and create, as JSON.
package kube

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"carvelwright.dev/payload/internal/fault"
)

const (
	requestTimeout = 20 * time.Second
	pageSize       = 500
	// pageLimit bounds one answer: 500 pods with long annotations are a few MB.
	pageLimit = 256 << 20
)

// Client talks to one API server.
type Client struct {
	Server string // URL without a path
	Token  string
	HTTP   *http.Client
}

// New gives a client that trusts ca (PEM) alone.
func New(server, token string, ca []byte) (*Client, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, &fault.Error{Code: fault.Input, What: "the cluster's CA certificate cannot be parsed",
			Do: "check the ConfigMap kube-root-ca.crt of the namespace"}
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	return &Client{Server: server, Token: token, HTTP: &http.Client{Transport: transport, Timeout: requestTimeout}}, nil
}

// StatusError is the API server's refusal.
type StatusError struct {
	Code    int
	Message string
	Reason  string // such as NotFound; empty when the answer did not come from the API server itself
	Object  string // the name of the object concerned, if any
}

func (e *StatusError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.Code, e.Message) }

// HasStatus tells whether err is the API server's refusal with that HTTP status.
func HasStatus(err error, code int) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Code == code
}

// Get reads one object.
func (c *Client) Get(ctx context.Context, path string, into any) error {
	return c.do(ctx, http.MethodGet, path, nil, into)
}

// Create posts one object.
func (c *Client) Create(ctx context.Context, path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, path, text, nil)
}

// List reads all objects of a collection, page by page. A list that expires on the way is begun anew once.
func List[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	items, err := list[T](ctx, c, path)
	if HasStatus(err, http.StatusGone) {
		items, err = list[T](ctx, c, path)
	}
	return items, err
}

func list[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	var all []T
	for next := ""; ; {
		query := url.Values{"limit": {fmt.Sprint(pageSize)}}
		if next != "" {
			query.Set("continue", next)
		}
		var page struct {
			Metadata struct{ Continue string }
			Items    []T
		}
		if err := c.do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if next = page.Metadata.Continue; next == "" {
			return all, nil
		}
	}
}

func (c *Client) do(ctx context.Context, method, path string, body []byte, into any) error {
	plain, _, _ := strings.Cut(path, "?")
	failed := func(err error, do string) error {
		return &fault.Error{Code: fault.API, What: "API server: " + method, Path: plain, Err: withoutSecret(err, c.Token), Do: do}
	}
	request, err := http.NewRequestWithContext(ctx, method, c.Server+path, bytes.NewReader(body))
	if err != nil {
		return failed(err, "")
	}
	request.Header.Set("Authorization", "Bearer "+c.Token)
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return failed(err, "look at the API server's address and at the node's network")
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, pageLimit+1))
	if err == nil && len(text) > pageLimit {
		err = errors.New("the response is too large")
	}
	if err != nil {
		return failed(err, "")
	}
	if response.StatusCode >= 300 {
		return failed(statusError(response.StatusCode, text), advice(response.StatusCode))
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return failed(fmt.Errorf("unexpected response: %w", err), "")
	}
	return nil
}

// discreet is an error whose text does not show a secret.
type discreet struct {
	error
	secret string
}

// withoutSecret is for texts that another program wrote: a proxy's page may repeat the request's headers.
func withoutSecret(err error, secret string) error {
	if secret == "" || !strings.Contains(err.Error(), secret) {
		return err
	}
	return discreet{err, secret}
}

func (d discreet) Error() string { return strings.ReplaceAll(d.error.Error(), d.secret, "[token]") }

func (d discreet) Unwrap() error { return d.error }

func statusError(code int, text []byte) error {
	var status struct {
		Message, Reason string
		Details         struct{ Name string }
	}
	if json.Unmarshal(text, &status) != nil || status.Message == "" {
		status.Message = http.StatusText(code)
	}
	return &StatusError{code, status.Message, status.Reason, status.Details.Name}
}

func advice(code int) string {
	switch code {
	case http.StatusUnauthorized:
		return "the service account token is not valid (any more)"
	case http.StatusForbidden:
		return "the service account lacks this right: was the package's RBAC changed or removed?"
	}
	return ""
}

// PodRef names the pod that a projected service account token was made for.
type PodRef struct {
	Namespace, Name, UID string
}

// PodOf reads the pod out of a projected token. The signature is the API server's business: nothing is decided by this.
func PodOf(token string) (PodRef, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return PodRef{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return PodRef{}, false
	}
	var claims struct {
		Kubernetes struct {
			Namespace string
			Pod       struct{ Name, UID string }
		} `json:"kubernetes.io"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return PodRef{}, false
	}
	ref := PodRef{claims.Kubernetes.Namespace, claims.Kubernetes.Pod.Name, claims.Kubernetes.Pod.UID}
	return ref, ref.Name != "" && ref.Namespace != ""
}
