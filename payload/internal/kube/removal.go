package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// DaemonSetRemoved tells whether a DaemonSet is being deleted or is gone, and how it knows. Only the API server's own word
// counts: an answer of something between, or none, is not a removal.
func DaemonSetRemoved(ctx context.Context, c *Client, namespace, name string) (removed bool, why string) {
	var set struct {
		Metadata struct {
			Name, DeletionTimestamp string
		}
	}
	what := fmt.Sprintf("DaemonSet %s/%s", namespace, name)
	err := c.Get(ctx, "/apis/apps/v1/namespaces/"+namespace+"/daemonsets/"+name, &set)
	var status *StatusError
	switch {
	case errors.As(err, &status) && status.Code == http.StatusNotFound && status.Reason == "NotFound" && status.Object == name:
		return true, what + " is gone"
	case err != nil:
		return false, fmt.Sprintf("whether %s is being removed is not known: %v", what, err)
	case set.Metadata.Name != name:
		return false, fmt.Sprintf("whether %s is being removed is not known: the answer is about something else", what)
	case set.Metadata.DeletionTimestamp != "":
		return true, what + " is being deleted"
	}
	return false, what + " remains"
}
