package main

import (
	"io"
	"net/http"
)

// drainLimit is how much of an answer is read for its connection to be used again.
const drainLimit = 64 << 10

// A renewing transport sends a request again that the API server does not accept the token of, with the token that the
// kubeconfig has by then. An ADD may wait for the lease for longer than its token lives: tokens are bound to the pod of the
// DaemonSet, and an update of the package puts another pod, and its token, in the place of the one that this call began with.
type renewing struct {
	http.RoundTripper
	kubeconfig string
}

func (r renewing) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.RoundTripper.RoundTrip(request)
	if err != nil || response.StatusCode != http.StatusUnauthorized {
		return response, err
	}
	again := r.again(request)
	if again == nil {
		return response, nil
	}
	_, _ = io.CopyN(io.Discard, response.Body, drainLimit)
	_ = response.Body.Close()
	return r.RoundTripper.RoundTrip(again)
}

// again returns the request with another token, or nil where there is none or the request cannot be repeated.
func (r renewing) again(request *http.Request) *http.Request {
	token := tokenOf(r.kubeconfig)
	if token == "" || "Bearer "+token == request.Header.Get("Authorization") {
		return nil
	}
	again := request.Clone(request.Context())
	if request.Body != nil && request.Body != http.NoBody {
		if request.GetBody == nil {
			return nil
		}
		body, err := request.GetBody()
		if err != nil {
			return nil
		}
		again.Body = body
	}
	again.Header.Set("Authorization", "Bearer "+token)
	return again
}

// tokenOf returns the token that a kubeconfig has now, or nothing.
func tokenOf(kubeconfig string) string {
	server, err := loaderOf(kubeconfig).ClientConfig()
	if err != nil {
		return ""
	}
	return server.BearerToken
}
