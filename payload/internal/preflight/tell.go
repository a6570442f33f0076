package preflight

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"carvelwright.dev/payload/internal/kube"
)

// terminationLimit is what the kubelet keeps of a termination message.
const terminationLimit = 4096

// eventLimit bounds an Event's message; the API server refuses more than 1024 bytes.
const eventLimit = 1024

// maxEvents: ten lines tell the story, a thousand Events would hide others'.
const maxEvents = 10

// Message gives the problems as a termination message: whole lines, and a count of those that did not fit.
func Message(problems []Problem) string {
	var b strings.Builder
	for i, problem := range problems {
		more := fmt.Sprintf("... and %d more\n", len(problems)-i)
		line := clip(problem.Line(), eventLimit) + "\n"
		if b.Len()+len(line)+len(more) > terminationLimit {
			b.WriteString(more)
			break
		}
		b.WriteString(line)
	}
	return b.String()
}

func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-3], "") + "..."
}

// The reasons of Events, for field selectors.
const (
	ReasonBlocks = "PreflightFailed"
	ReasonWarns  = "PreflightWarning"
)

// PostEvents tells each problem as an Event of the pod, so that kubectl describe shows it. The container is started again and
// again while something blocks: what was told of this pod already is not told twice.
func PostEvents(ctx context.Context, c *kube.Client, pod kube.PodRef, component string, problems []Problem, now time.Time) error {
	for i, problem := range problems {
		if i == maxEvents {
			break
		}
		err := c.Create(ctx, "/api/v1/namespaces/"+pod.Namespace+"/events", event(pod, component, problem, now))
		if err != nil && !kube.HasStatus(err, http.StatusConflict) {
			return err
		}
	}
	return nil
}

func event(pod kube.PodRef, component string, problem Problem, now time.Time) map[string]any {
	stamp := now.UTC().Format(time.RFC3339)
	reason := ReasonWarns
	if problem.Blocks {
		reason = ReasonBlocks
	}
	told := sha256.Sum256([]byte(pod.UID + " " + problem.Line()))
	return map[string]any{
		"apiVersion": "v1", "kind": "Event",
		"metadata":       map[string]any{"name": fmt.Sprintf("%s.%x", pod.Name, told[:8]), "namespace": pod.Namespace},
		"involvedObject": map[string]any{"apiVersion": "v1", "kind": "Pod", "namespace": pod.Namespace, "name": pod.Name, "uid": pod.UID},
		"type":           "Warning", "reason": reason, "message": clip(problem.Text, eventLimit),
		"firstTimestamp": stamp, "lastTimestamp": stamp, "count": 1,
		"source": map[string]any{"component": component},
	}
}
