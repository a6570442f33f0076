package refresh_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"carvelwright.dev/payload/internal/node/nodetest"
	"carvelwright.dev/payload/internal/probe"
	"carvelwright.dev/payload/internal/refresh"
)

// A network plugin rewrites its configuration in place, and slowly: meanwhile no other file becomes the primary network's.
func TestPrimaryConfigurationThatIsBeingRewritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := nodetest.Multus.New(t, t.TempDir(), "v1")
		nodetest.Write(t, filepath.Join(w.Spec.ConfDir, "87-podman.conflist"), `{"name": "podman", "plugins": [{"type": "bridge"}]}`, 0o644)
		e := make(events)
		r := start(t, w.Spec, refresh.PollInterval, e.use)
		time.Sleep(5 * time.Second)
		before := nodetest.Read(t, w.Conf())
		nodetest.Write(t, filepath.Join(w.Spec.ConfDir, nodetest.PrimaryFile), `{"cniVersion": "1.0.0", "name": "po`, 0o644)
		e.tell()
		time.Sleep(2 * time.Minute)
		if nodetest.Read(t, w.Conf()) != before {
			t.Errorf("the configuration became\n%s", nodetest.Read(t, w.Conf()))
		}
		if err := answer(r.Loop, probe.Readiness); err == nil || !strings.Contains(err.Error(), nodetest.PrimaryFile) {
			t.Errorf("ready, or: %v", err)
		}
		w.SetPrimary(t, "10.9.0.0/24")
		e.tell()
		took(t, promised, func() bool { return whole(w) && ready(r)() })
		must(t, os.Remove(filepath.Join(w.Spec.ConfDir, nodetest.PrimaryFile)))
		e.tell()
		took(t, promised, func() bool { return strings.Contains(nodetest.Read(t, w.Conf()), "podman") && ready(r)() })
		if n := strings.Count(r.log(), "primary network "); n != 2 {
			t.Errorf("the choice was told %d times:\n%s", n, r.log())
		}
	})
}

// A refresher that stands back for a newer one leaves the network configuration alone, too, and says so.
func TestStandbyLeavesTheNetworkConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := nodetest.Multus.New(t, t.TempDir(), "v1")
		e := make(events)
		r := start(t, w.Spec, refresh.PollInterval, e.use)
		time.Sleep(5 * time.Second)
		_, release, err := w.Spec.Package.Claims().Take(dir(t, w.Host("")), "refresh")
		must(t, err)
		defer release()
		nodetest.Write(t, w.Conf(), "theirs", 0o600)
		e.tell()
		time.Sleep(2 * time.Minute)
		if nodetest.Read(t, w.Conf()) != "theirs" {
			t.Error("it was put back")
		}
		if text, err := r.Loop.Answer(probe.State); err != nil || !strings.Contains(text, "a newer pod of the package maintains the files") {
			t.Errorf("%q %v", text, err)
		}
	})
}
