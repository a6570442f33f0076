package cli_test

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"carvelwright.dev/payload/internal/claim"
	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/kube/kubetest"
	"carvelwright.dev/payload/internal/node/nodetest"
)

const daemonSetPath = "/apis/apps/v1/namespaces/kube-system/daemonsets/multus-cni"

// daemonSet is the package's DaemonSet as the API server gives it.
func daemonSet(metadata map[string]any) map[string]any {
	metadata["name"], metadata["namespace"] = "multus-cni", "kube-system"
	return map[string]any{"kind": "DaemonSet", "metadata": metadata}
}

// refresher is a refresher of Multus in a process of its own.
type refresher struct {
	*exec.Cmd
	log   bytes.Buffer
	state string
}

func startRefresher(t *testing.T, w nodetest.World) *refresher {
	t.Helper()
	r := &refresher{state: filepath.Join(w.Root, "s")}
	if err := os.MkdirAll(r.state, 0o700); err != nil {
		t.Fatal(err)
	}
	r.Cmd = exec.Command(os.Args[0], nodeArgs("refresh", w, "--state-dir", r.state, "--daemonset", "kube-system/multus-cni")...)
	r.Env = append(os.Environ(), "AS_INSTALLER=multus", "KUBERNETES_SERVICE_HOST="+w.Spec.APIHost, "KUBERNETES_SERVICE_PORT="+w.Spec.APIPort)
	r.Stderr = &r.log
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Process.Kill() })
	r.await(t, w, "readiness", fault.OK)
	return r
}

// await asks until the answer is the one that is wanted, and gives its text.
func (r *refresher) await(t *testing.T, w nodetest.World, question string, want fault.Code) string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		code, out, errs := run(t, w, "", "probe", question, "--state-dir", r.state)
		if code == want {
			return out + errs
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s never gave %d: %s", question, want, errs)
		}
	}
}

// terminate ends it as the kubelet does and gives its log.
func (r *refresher) terminate(t *testing.T) string {
	t.Helper()
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := r.Wait(); err != nil {
		t.Errorf("SIGTERM: %v: %s", err, r.log.String())
	}
	return r.log.String()
}

// At SIGTERM the network configuration goes with the package, and stays in every other case and in every doubt. Everything else
// stays in any case.
func TestFarewell(t *testing.T) {
	for name, c := range map[string]struct {
		arrange func(t *testing.T, w *nodetest.World, s *kubetest.Server)
		goes    bool
		says    string
	}{
		"rolling update, node drained": {func(_ *testing.T, _ *nodetest.World, s *kubetest.Server) {
			s.Objects[daemonSetPath] = daemonSet(map[string]any{})
		}, false, "DaemonSet kube-system/multus-cni remains"},
		"being deleted": {func(_ *testing.T, _ *nodetest.World, s *kubetest.Server) {
			s.Objects[daemonSetPath] = daemonSet(map[string]any{"deletionTimestamp": "2026-11-26T12:00:00Z"})
		}, true, "DaemonSet kube-system/multus-cni is being deleted"},
		"deleted":                 {func(*testing.T, *nodetest.World, *kubetest.Server) {}, true, "DaemonSet kube-system/multus-cni is gone"},
		"404 of something else":   {refusing(http.StatusNotFound), false, "not known"},
		"token invalid":           {refusing(http.StatusUnauthorized), false, "HTTP 401"},
		"no right":                {refusing(http.StatusForbidden), false, "HTTP 403"},
		"API server in trouble":   {refusing(http.StatusInternalServerError), false, "HTTP 500"},
		"something else answers":  {func(_ *testing.T, _ *nodetest.World, s *kubetest.Server) { s.Objects[daemonSetPath] = map[string]any{} }, false, "not known"},
		"a list instead":          {func(_ *testing.T, _ *nodetest.World, s *kubetest.Server) { s.Objects[daemonSetPath] = []any{} }, false, "unexpected response"},
		"no answer":               {hanging, false, "deadline exceeded"},
		"nobody there":            {func(_ *testing.T, w *nodetest.World, _ *kubetest.Server) { w.Spec.APIPort = "1" }, false, "connection refused"},
		"another CA than the API": {func(t *testing.T, w *nodetest.World, _ *kubetest.Server) { setCA(t, w, nodetest.CA) }, false, "not known"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := nodetest.Multus.New(t, t.TempDir(), "v1")
			s := inCluster(t, &w)
			c.arrange(t, &w, s)
			r := startRefresher(t, w)
			conf := nodetest.Read(t, w.Conf())
			log := r.terminate(t)
			if found := nodetest.Found(t, w.Conf()); (found == "") != c.goes || (found != "" && found != conf) {
				t.Errorf("the configuration is %q", found)
			}
			nodetest.Read(t, w.Kubeconfig())
			nodetest.Read(t, w.Plugin())
			if !strings.Contains(log, c.says) || strings.Contains(log, w.Token(t)) {
				t.Errorf("%q is not said, or the token is:\n%s", c.says, log)
			}
		})
	}
}

func refusing(code int) func(*testing.T, *nodetest.World, *kubetest.Server) {
	return func(_ *testing.T, _ *nodetest.World, s *kubetest.Server) {
		s.Refuse = func(*http.Request) int { return code }
	}
}

func hanging(_ *testing.T, _ *nodetest.World, s *kubetest.Server) {
	s.Refuse = func(r *http.Request) int {
		<-r.Context().Done()
		return http.StatusServiceUnavailable
	}
}

// While a newer pod maintains the files, the older one touches nothing, even if it hears that the package is gone. The newer
// one hears it, too. What an install announced whose pod never came does not count.
func TestFarewellWithNewerClaims(t *testing.T) {
	for kind, goes := range map[claim.Kind]bool{claim.Held: false, claim.Announced: true} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := nodetest.Multus.New(t, t.TempDir(), "v1")
			inCluster(t, &w)
			r := startRefresher(t, w)
			dir, err := hostfs.Open(w.Host(""))
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			_, release, err := w.Spec.Package.Claims().Take(dir, kind)
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			log := r.terminate(t)
			if found := nodetest.Found(t, w.Conf()); (found == "") != goes {
				t.Errorf("the configuration is %q:\n%s", found, log)
			}
		})
	}
}

// The primary network's configuration comes late, changes, and goes: the probes say so each time.
func TestPrimaryNetworkIsFollowed(t *testing.T) {
	w := nodetest.Multus.New(t, t.TempDir(), "v1")
	primary := filepath.Join(w.Spec.ConfDir, nodetest.PrimaryFile)
	text := nodetest.Read(t, primary)
	r := startRefresher(t, w)
	if said := r.await(t, w, "state", fault.OK); !strings.Contains(said, "primary network pods from "+nodetest.PrimaryFile+": it is the first by name") {
		t.Errorf("state: %q", said)
	}
	before := nodetest.Read(t, w.Conf())
	if err := os.Remove(primary); err != nil {
		t.Fatal(err)
	}
	if said := r.await(t, w, "readiness", fault.NotReady); !strings.Contains(said, "there is no primary network's configuration yet") {
		t.Errorf("readiness: %q", said)
	}
	r.await(t, w, "state", fault.NotReady)
	r.await(t, w, "liveness", fault.OK)
	if nodetest.Read(t, w.Conf()) != before {
		t.Error("the configuration changed while there was nothing to make it from")
	}
	nodetest.Write(t, primary, strings.ReplaceAll(text, "pods", "other"), 0o644)
	r.await(t, w, "readiness", fault.OK)
	if said := r.await(t, w, "state", fault.OK); !strings.Contains(said, "primary network other from") || !strings.Contains(nodetest.Read(t, w.Conf()), `"other"`) {
		t.Errorf("state: %q", said)
	}
	if log := r.terminate(t); !strings.Contains(log, "primary network pods from") || !strings.Contains(log, "primary network other from") {
		t.Error(log)
	}
}

func TestInstallWithoutAPrimaryNetwork(t *testing.T) {
	w := nodetest.Multus.New(t, t.TempDir(), "v1")
	primary := filepath.Join(w.Spec.ConfDir, nodetest.PrimaryFile)
	text := nodetest.Read(t, primary)
	nodetest.Write(t, primary, text[:20], 0o644)
	code, _, errs := run(t, w, "", nodeArgs("install", w)...)
	if code != fault.OK || !strings.Contains(errs, "no primary network's configuration yet") || !strings.Contains(errs, nodetest.PrimaryFile+" (is not valid JSON") {
		t.Errorf("%d %s", code, errs)
	}
	if nodetest.Found(t, w.Conf()) != "" {
		t.Error("a configuration was written all the same")
	}
	nodetest.Write(t, primary, text, 0o644)
	code, _, errs = run(t, w, "", nodeArgs("install", w)...)
	if code != fault.OK || !strings.Contains(errs, "install: wrote "+w.Conf()) || !strings.Contains(errs, "primary network pods from") {
		t.Errorf("%d %s", code, errs)
	}
}

func TestMultusCommandLines(t *testing.T) {
	w := nodetest.Multus.New(t, t.TempDir(), "v1")
	for name, args := range map[string][]string{
		"audit is Whereabouts'":      {"audit"},
		"DaemonSet, no namespace":    nodeArgs("refresh", w, "--daemonset", "multus-cni"),
		"DaemonSet, no name":         nodeArgs("refresh", w, "--daemonset", "kube-system/"),
		"DaemonSet, too much":        nodeArgs("refresh", w, "--daemonset", "kube-system/a/b"),
		"relative host-bin-dir":      nodeArgs("install", w, "--host-bin-dir", "opt/cni/bin")[:len(nodeArgs("install", w))],
		"cleanup asks no API server": {"cleanup", "--service-account-dir", "/x", "--conf-dir", "/x", "--bin-dir", "/x"},
	} {
		code, _, errs := run(t, w, "", args...)
		if code != fault.Usage || strings.Count(errs, "multus-installer: ") != 1 || strings.Contains(errs, "whereabouts") {
			t.Errorf("%s: code %d, %q", name, code, errs)
		}
	}
	_, out, _ := run(t, w, "", "--help")
	if !strings.Contains(out, "Usage: multus-installer COMMAND") || strings.Contains(out, "audit") || strings.Contains(out, "addresses") {
		t.Error(out)
	}
	nodetest.Write(t, w.Spec.ConfigFile, `{"logLevel": "loud"}`, 0o600)
	code, _, errs := run(t, w, "", nodeArgs("install", w)...)
	if code != fault.Input || !strings.Contains(errs, "multus.json") || !strings.Contains(errs, `"loud"`) {
		t.Errorf("%d %s", code, errs)
	}
}

func TestMultusCleanup(t *testing.T) {
	w := nodetest.Multus.New(t, t.TempDir(), "v1")
	if code, _, errs := run(t, w, "", nodeArgs("install", w)...); code != fault.OK {
		t.Fatal(errs)
	}
	nodetest.Write(t, filepath.Join(w.Spec.ConfDir, "multus.d", "multus.kubeconfig"), "theirs", 0o600)
	code, _, errs := run(t, w, "", "cleanup", "--conf-dir", w.Spec.ConfDir, "--bin-dir", w.Spec.BinDir, "--source", w.Spec.Source)
	if code != fault.OK || !strings.Contains(errs, "cleanup: removed "+w.Conf()) || !strings.Contains(errs, "warning: "+w.Spec.ConfDir+"/multus.d is of another") {
		t.Errorf("%d %s", code, errs)
	}
}

const crdsPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/network-attachment-definitions.k8s.cni.cncf.io"

func TestMultusPreflight(t *testing.T) {
	crd := map[string]any{"spec": map[string]any{"versions": []any{map[string]any{"name": "v1", "served": true}}}}
	set := func(name, image string) map[string]any {
		return map[string]any{"metadata": map[string]any{"name": name}, "spec": map[string]any{"template": map[string]any{
			"spec": map[string]any{"containers": []any{map[string]any{"image": image}}}}}}
	}
	const list = "/apis/apps/v1/namespaces/kube-system/daemonsets"
	for name, c := range map[string]struct {
		arrange func(s *kubetest.Server)
		code    fault.Code
		says    string
	}{
		"well": {func(s *kubetest.Server) {
			s.Objects[crdsPath] = crd
			s.SetList(list, set("multus-cni", "x/multus-cni"), set("calico", "c"))
		}, fault.OK, "meets the requirements of this version\n"},
		"no CRD": {func(s *kubetest.Server) { s.SetList(list) }, fault.Preflight, "CRD network-attachment-definitions.k8s.cni.cncf.io is missing"},
		"not served": {func(s *kubetest.Server) {
			s.Objects[crdsPath] = map[string]any{"spec": map[string]any{"versions": []any{map[string]any{"name": "v1", "served": false}}}}
			s.SetList(list)
		}, fault.Preflight, "version v1 is not served"},
		"upstream's": {func(s *kubetest.Server) {
			s.Objects[crdsPath] = crd
			s.SetList(list, set("kube-multus-ds", "ghcr.io/k8snetworkplumbingwg/multus-cni:snapshot"))
		}, fault.OK, "warning: DaemonSet kube-system/kube-multus-ds is another installation of Multus"},
		"under another name": {func(s *kubetest.Server) { s.Objects[crdsPath] = crd; s.SetList(list, set("net", "example/multus:1")) }, fault.OK, "kube-system/net is another"},
		"no right to list": {func(s *kubetest.Server) {
			s.Objects[crdsPath] = crd
			s.Refuse = func(r *http.Request) int {
				if r.URL.Path == list {
					return http.StatusForbidden
				}
				return 0
			}
		}, fault.OK, "warning: other DaemonSets of Multus cannot be looked for"},
		"no right at all": {func(s *kubetest.Server) { s.Refuse = func(*http.Request) int { return http.StatusForbidden } }, fault.API, "HTTP 403"},
	} {
		t.Run(name, func(t *testing.T) {
			w := nodetest.Multus.New(t, t.TempDir(), "v1")
			s := inCluster(t, &w)
			c.arrange(s)
			code, _, errs := run(t, w, "", "preflight", "--namespace", "kube-system", "--service-account-dir", w.Spec.ServiceAccountDir, "--termination-log", "")
			if code != c.code || !strings.Contains(errs, c.says) {
				t.Errorf("%d %s", code, errs)
			}
		})
	}
}
