package cli_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"carvelwright.dev/payload/internal/cli"
	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/ipam"
	"carvelwright.dev/payload/internal/kube/kubetest"
	multusprogram "carvelwright.dev/payload/internal/multus/program"
	"carvelwright.dev/payload/internal/node/nodetest"
	"carvelwright.dev/payload/internal/whereabouts"
	"carvelwright.dev/payload/internal/whereabouts/program"
)

// TestMain makes this test's binary the program itself when it is started by one of the tests.
func TestMain(m *testing.M) {
	if os.Getenv("AS_INSTALLER") == "" {
		os.Exit(m.Run())
	}
	installer := program.New()
	if os.Getenv("AS_INSTALLER") == "multus" {
		installer = multusprogram.New()
	}
	os.Exit(cli.Main(installer, cli.Env{Version: "v-test", Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, os.Args[1:]))
}

// run gives the exit code and all output of a command that ends by itself.
func run(t *testing.T, w nodetest.World, stdin string, args ...string) (code fault.Code, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	installer := program.New()
	if w.Spec.Package.Network != nil {
		installer = multusprogram.New()
	}
	getenv := func(name string) string {
		return map[string]string{"KUBERNETES_SERVICE_HOST": w.Spec.APIHost, "KUBERNETES_SERVICE_PORT": w.Spec.APIPort}[name]
	}
	env := cli.Env{Version: "v-test", Getenv: getenv, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs}
	return fault.Code(cli.Main(installer, env, args)), out.String(), errs.String()
}

func nodeArgs(command string, w nodetest.World, more ...string) []string {
	if w.Spec.Package.Network != nil {
		more = append(more, "--host-bin-dir", w.Spec.HostBinDir)
	}
	return append([]string{command, "--source", w.Spec.Source, "--bin-dir", w.Spec.BinDir, "--conf-dir", w.Spec.ConfDir,
		"--host-conf-dir", w.Spec.HostConfDir, "--config", w.Spec.ConfigFile, "--node-name", w.Spec.NodeName,
		"--namespace", w.Spec.Namespace, "--service-account-dir", w.Spec.ServiceAccountDir}, more...)
}

// inCluster gives the world an API server, and a token that names a pod.
func inCluster(t *testing.T, w *nodetest.World) *kubetest.Server {
	t.Helper()
	payload := base64.RawURLEncoding.EncodeToString([]byte(`{"kubernetes.io":{"namespace":"kube-system","pod":{"name":"p","uid":"u"}}}`))
	token := "e30." + payload + ".c2ln"
	s := kubetest.New(t, token)
	w.SetToken(t, token)
	nodetest.Write(t, filepath.Join(w.Spec.ServiceAccountDir, "ca.crt"), string(s.CA()), 0o644)
	w.Spec.APIHost, w.Spec.APIPort = s.Address()
	return s
}

func TestUsage(t *testing.T) {
	w := nodetest.At(t.TempDir())
	code, out, _ := run(t, w, "", "--help")
	if code != fault.OK {
		t.Errorf("code %d", code)
	}
	for _, m := range fault.Meanings(program.New().Meanings) {
		if !strings.Contains(out, strconv.Itoa(int(m.Code))+"  "+m.Text) {
			t.Errorf("the usage does not explain exit code %d", m.Code)
		}
	}
	for _, name := range []string{"install", "refresh", "probe", "preflight", "cleanup", "audit"} {
		if !strings.Contains(out, "\n  "+name+" ") {
			t.Errorf("the usage does not name %s", name)
		}
		if code, out, _ := run(t, w, "", name, "--help"); code != fault.OK || !strings.Contains(out, "-") {
			t.Errorf("%s --help: %d %q", name, code, out)
		}
	}
	if _, out, _ := run(t, w, "", "--version"); out != "whereabouts-installer v-test\n" {
		t.Errorf("%q", out)
	}
}

func TestBadCommandLines(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	good := nodeArgs("install", w)
	for name, args := range map[string][]string{
		"nothing":         {},
		"unknown command": {"instal"},
		"unknown flag":    append(good, "--bindir=/x"),
		"argument":        append(good, "more"),
		"flag missing":    good[:len(good)-2][:3],
		"empty value":     append(good, "--node-name="),
		"relative path":   append(good, "--bin-dir=opt/cni/bin"),
		"unknown probe":   {"probe", "health", "--state-dir", "/tmp"},
		"no question":     {"probe", "--state-dir", "/tmp"},
		"no state-dir":    {"probe", "readiness"},
		"bad duration":    {"audit", "--settle", "soon"},
		"negative settle": {"audit", "--settle", "-1s"},
	} {
		code, _, errs := run(t, w, "", args...)
		if code != fault.Usage || strings.Count(errs, "whereabouts-installer: ") != 1 {
			t.Errorf("%s: code %d, %q", name, code, errs)
		}
	}
	if _, err := os.Stat(w.Plugin()); err == nil {
		t.Error("installed all the same")
	}
}

func TestInstallSaysWhatItWrote(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	code, _, errs := run(t, w, "", nodeArgs("install", w)...)
	if code != fault.OK || strings.Count(errs, "install: wrote ") != 4 {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs = run(t, w, "", nodeArgs("install", w)...); code != fault.OK || !strings.Contains(errs, "(0 written") {
		t.Errorf("%d %s", code, errs)
	}
	w.Spec.BinDir += "/nowhere"
	if code, _, errs = run(t, w, "", nodeArgs("install", w)...); code != fault.Host || !strings.Contains(errs, "whereabouts.config.cni.bin_dir") {
		t.Errorf("%d %s", code, errs)
	}
}

// The life of a pod: refresh and its probes, a rotated token, SIGTERM.
func TestRefreshAndProbes(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	state := filepath.Join(w.Root, "s")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := run(t, w, "", "probe", "readiness", "--state-dir", state); code != fault.NotReady {
		t.Errorf("ready before it started: %d", code)
	}
	nodetest.Write(t, filepath.Join(state, "probe.sock"), "left by an earlier container", 0o600)
	cmd := exec.Command(os.Args[0], nodeArgs("refresh", w, "--state-dir", state)...)
	cmd.Env = append(os.Environ(), "AS_INSTALLER=1", "KUBERNETES_SERVICE_HOST="+w.Spec.APIHost, "KUBERNETES_SERVICE_PORT="+w.Spec.APIPort)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	await := func(question string, want fault.Code) string {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			code, _, errs := run(t, w, "", "probe", question, "--state-dir", state)
			if code == want {
				return errs
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s never gave %d: %s", question, want, errs)
			}
		}
	}
	await("readiness", fault.OK)
	await("liveness", fault.OK)
	w.SetToken(t, "token-2")
	await("readiness", fault.OK)
	if !strings.Contains(nodetest.Read(t, w.Host(whereabouts.KubeconfigFile)), "token-2") {
		t.Error("ready, but with the old token")
	}
	if err := os.Remove(filepath.Join(w.Spec.ServiceAccountDir, "token")); err != nil {
		t.Fatal(err)
	}
	if text := await("readiness", fault.NotReady); !strings.Contains(text, "token") || strings.Contains(text, "token-2") {
		t.Errorf("not ready because %q", text)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v: %s", err, log.String())
	}
	nodetest.Read(t, w.Host(whereabouts.KubeconfigFile))
	nodetest.Read(t, w.Plugin())
	if strings.Contains(log.String(), "token-1") || strings.Contains(log.String(), "token-2") {
		t.Errorf("the log shows a token:\n%s", log.String())
	}
}

// A pass that hangs (here: on a token that is a pipe without a writer) does not keep the pod from ending.
func TestEndsWhileAPassHangs(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	token := filepath.Join(w.Spec.ServiceAccountDir, "token")
	if err := os.Remove(token); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(token, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], nodeArgs("refresh", w)...)
	cmd.Env = append(os.Environ(), "AS_INSTALLER=1", "KUBERNETES_SERVICE_HOST="+w.Spec.APIHost, "KUBERNETES_SERVICE_PORT="+w.Spec.APIPort)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	time.Sleep(500 * time.Millisecond) // until it hangs; sooner, it ends all the more easily
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("did not end")
	}
}

func TestRefreshWithoutAUsableStateDir(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	code, _, errs := run(t, w, "", nodeArgs("refresh", w, "--state-dir", filepath.Join(w.Root, "nowhere"))...)
	if code != fault.Input || !strings.Contains(errs, "emptyDir") {
		t.Errorf("%d %s", code, errs)
	}
}

func TestPreflightTellsEverywhere(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	s := inCluster(t, &w)
	last := filepath.Join(w.Root, "termination-log")
	nodetest.Write(t, last, strings.Repeat("x", 10_000), 0o600)
	code, _, errs := run(t, w, "", "preflight", "--namespace", "kube-system", "--config", w.Spec.ConfigFile,
		"--service-account-dir", w.Spec.ServiceAccountDir, "--termination-log", last)
	if code != fault.Preflight {
		t.Errorf("%d %s", code, errs)
	}
	message := nodetest.Read(t, last)
	if strings.Count(message, "\n") != 4 || !strings.Contains(message, "install Multus first") || strings.Contains(message, "xx") {
		t.Errorf("%q", message)
	}
	if events := s.Posted(); len(events) != 4 || !strings.Contains(errs, events[0]["message"].(string)) {
		t.Errorf("%d events; %s", len(events), errs)
	}
	w.Spec.APIPort = "1"
	code, _, errs = run(t, w, "", "preflight", "--namespace", "kube-system", "--config", w.Spec.ConfigFile,
		"--service-account-dir", w.Spec.ServiceAccountDir, "--termination-log", last)
	if code != fault.API || !strings.Contains(nodetest.Read(t, last), "API server") {
		t.Errorf("%d %s", code, errs)
	}
}

func preflightArgs(w nodetest.World, last string) []string {
	return []string{"preflight", "--namespace", "kube-system", "--config", w.Spec.ConfigFile,
		"--service-account-dir", w.Spec.ServiceAccountDir, "--termination-log", last}
}

// What an operator ought to know, but what no program fails of, is told and holds nothing up.
func TestPreflightWarningsPass(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	s := inCluster(t, &w)
	fit(s)
	s.SetList(ipam.PoolsPath, map[string]any{"metadata": map[string]any{"name": "p", "namespace": "kube-system"},
		"spec": map[string]any{"range": "10.0.0.0/24", "allocations": map[string]any{"7": map[string]any{"id": "", "podref": ""}}}})
	last := filepath.Join(w.Root, "termination-log")
	nodetest.Write(t, last, "", 0o600)
	code, _, errs := run(t, w, "", preflightArgs(w, last)...)
	if code != fault.OK || !strings.Contains(errs, "1 warnings") {
		t.Errorf("%d %s", code, errs)
	}
	if message := nodetest.Read(t, last); !strings.HasPrefix(message, "warning: pool kube-system/p: 10.0.0.7 ") {
		t.Errorf("%q", message)
	}
	if events := s.Posted(); len(events) != 1 || events[0]["reason"] != "PreflightWarning" {
		t.Errorf("%v", events)
	}
	// One thing that blocks beside it, and the warning is still told, behind it.
	nodetest.Write(t, w.Spec.ConfigFile, `{"leader_retry_period": 5000}`, 0o600)
	code, _, errs = run(t, w, "", preflightArgs(w, last)...)
	if message := nodetest.Read(t, last); code != fault.Preflight || !strings.Contains(errs, "1 problems, 1 warnings") ||
		!strings.HasPrefix(message, "whereabouts.conf: ") || !strings.Contains(message, "\nwarning: pool") {
		t.Errorf("%d %s %q", code, errs, message)
	}
	if events := s.Posted(); len(events) != 2 || events[1]["reason"] != "PreflightFailed" {
		t.Errorf("%v", events)
	}
}

func TestPreflightWarnsOfLowLimits(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	s := inCluster(t, &w)
	fit(s)
	args := append(preflightArgs(w, ""), "--limit=whereabouts.config.resources.limits.memory=50Mi", "--limit=ip_reconciler.config.resources.limits.memory=1Gi")
	code, _, errs := run(t, w, "", args...)
	if code != fault.OK || !strings.Contains(errs, "warning: whereabouts.config.resources.limits.memory is 50Mi") || !strings.Contains(errs, "1 warnings") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := run(t, w, "", append(args, "--limit=50Mi")...); code != fault.Usage || !strings.Contains(errs, "KEY=QUANTITY") {
		t.Errorf("%d %s", code, errs)
	}
}

// fit gives the API server the CRDs that this version needs.
func fit(s *kubetest.Server) {
	for name, schema := range map[string]string{
		"network-attachment-definitions.k8s.cni.cncf.io": `{"name":"v1"}`,
		"ippools.whereabouts.cni.cncf.io": `{"name":"v1alpha1","schema":{"openAPIV3Schema":{"properties":{"spec":{"properties":{"range":{},
		  "allocations":{"additionalProperties":{"properties":{"id":{},"podref":{},"ifname":{}},"required":["podref"]}}}}}}}}`,
		"overlappingrangeipreservations.whereabouts.cni.cncf.io": `{"name":"v1alpha1","schema":{"openAPIV3Schema":{"properties":{"spec":{
		  "properties":{"podref":{},"ifname":{}},"required":["podref"]}}}}}`,
		"nodeslicepools.whereabouts.cni.cncf.io": `{"name":"v1alpha1","schema":{"openAPIV3Schema":{"properties":{"spec":{"properties":{"range":{},"sliceSize":{}}},
		  "status":{"properties":{"allocations":{}}}}}}}`,
	} {
		var version map[string]any
		if err := json.Unmarshal([]byte(schema), &version); err != nil {
			panic(err)
		}
		version["served"] = true
		s.Objects["/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"+name] = map[string]any{"spec": map[string]any{"versions": []any{version}}}
	}
	for _, path := range []string{ipam.PoolsPath, ipam.ReservationsPath, ipam.PodsPath} {
		s.SetList(path)
	}
}

// Whatever goes wrong, in whatever command: neither the token nor one of its parts is in what is printed, in the termination
// message or in an Event.
func TestNoTokenAnywhere(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, w *nodetest.World, s *kubetest.Server){
		"nothing": func(*testing.T, *nodetest.World, *kubetest.Server) {},
		"refused, and repeated": func(_ *testing.T, _ *nodetest.World, s *kubetest.Server) {
			s.Echo, s.Refuse = true, func(*http.Request) int { return http.StatusUnauthorized }
		},
		"nobody there":  func(_ *testing.T, w *nodetest.World, _ *kubetest.Server) { w.Spec.APIPort = "1" },
		"broken token":  func(t *testing.T, w *nodetest.World, _ *kubetest.Server) { w.SetToken(t, w.Token(t)+" \x01") },
		"another CA":    func(t *testing.T, w *nodetest.World, _ *kubetest.Server) { setCA(t, w, nodetest.CA) },
		"CA is a token": func(t *testing.T, w *nodetest.World, _ *kubetest.Server) { setCA(t, w, w.Token(t)) },
		"conf is a token": func(t *testing.T, w *nodetest.World, _ *kubetest.Server) {
			nodetest.Write(t, w.Spec.ConfigFile, `"`+w.Token(t)+`"`, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := nodetest.New(t, t.TempDir(), "v1")
			s := inCluster(t, &w)
			fit(s)
			token := w.Token(t)
			spoil(t, &w, s)
			last := filepath.Join(w.Root, "termination-log")
			nodetest.Write(t, last, "", 0o600)
			var said strings.Builder
			for _, args := range [][]string{
				nodeArgs("install", w),
				preflightArgs(w, last),
				{"audit", "--settle", "0", "--service-account-dir", w.Spec.ServiceAccountDir},
				{"cleanup", "--conf-dir", w.Spec.ConfDir, "--bin-dir", w.Spec.BinDir, "--source", w.Spec.Source, "--service-account-dir", w.Spec.ServiceAccountDir},
				{"probe", "readiness", "--state-dir", w.Root},
			} {
				_, out, errs := run(t, w, "", args...)
				said.WriteString(out + errs)
			}
			fmt.Fprint(&said, nodetest.Read(t, last), s.Posted())
			for part := range strings.SplitSeq(token, ".") {
				if strings.Contains(said.String(), part) {
					t.Errorf("shows %q:\n%s", part, said.String())
				}
			}
		})
	}
}

func setCA(t *testing.T, w *nodetest.World, text string) {
	nodetest.Write(t, filepath.Join(w.Spec.ServiceAccountDir, "ca.crt"), text, 0o600)
}

func TestCleanup(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	s := inCluster(t, &w)
	if code, _, errs := run(t, w, "", nodeArgs("install", w)...); code != fault.OK {
		t.Fatal(errs)
	}
	args := []string{"cleanup", "--conf-dir", w.Spec.ConfDir, "--bin-dir", w.Spec.BinDir, "--source", w.Spec.Source,
		"--service-account-dir", w.Spec.ServiceAccountDir}
	s.SetList(ipam.PoolsPath, map[string]any{"spec": map[string]any{"allocations": map[string]any{"1": map[string]any{"podref": "default/a"}}}})
	code, _, errs := run(t, w, "", args...)
	if code != fault.Refused || !strings.Contains(errs, "default/a") {
		t.Errorf("%d %s", code, errs)
	}
	nodetest.Read(t, w.Plugin())
	// Forced, it does not even ask: whoever forces it may have no API server any more.
	s.Refuse = func(*http.Request) int { return http.StatusInternalServerError }
	if code, _, errs := run(t, w, "", args...); code != fault.API {
		t.Errorf("without an answer: %d %s", code, errs)
	}
	nodetest.Read(t, w.Plugin())
	if code, _, errs := run(t, w, "", append(args, "--force")...); code != fault.OK {
		t.Errorf("forced: %d %s", code, errs)
	}
	if _, err := os.Lstat(w.Plugin()); err == nil {
		t.Error("forced: the plugin stayed")
	}
	if code, _, errs := run(t, w, "", nodeArgs("install", w)...); code != fault.OK {
		t.Fatal(errs)
	}
	s.Refuse = nil
	s.SetList(ipam.PoolsPath)
	if code, _, errs := run(t, w, "", args...); code != fault.OK {
		t.Errorf("nothing held: %d %s", code, errs)
	}
	if _, err := os.Lstat(w.Plugin()); err == nil {
		t.Error("nothing held: the plugin stayed")
	}
}

func TestAudit(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	const leak = `{"kind":"List","items":[{"kind":"IPPool","metadata":{"name":"192.168.20.0-24","namespace":"kube-system"},
	  "spec":{"range":"192.168.20.0/24","allocations":{"10":{"podref":"default/gone"}}}}]}`
	code, out, errs := run(t, w, leak, "audit", "--input", "-")
	if code != fault.Findings || !strings.HasPrefix(out, "leak      192.168.20.10 ") || !strings.Contains(out, "1 leaks") {
		t.Errorf("%d %q %q", code, out, errs)
	}
	code, out, _ = run(t, w, leak, "audit", "--input", "-", "--json")
	var report struct {
		Allocations int
		Findings    []struct{ Kind, Address string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != fault.Findings || report.Allocations != 1 || report.Findings[0].Kind != "leak" {
		t.Errorf("%d %v %q", code, err, out)
	}
	code, out, _ = run(t, w, `{"kind":"List","items":[]}`, "audit", "--input", "-", "--json")
	if code != fault.OK || !strings.Contains(out, `"findings": []`) {
		t.Errorf("%d %q", code, out)
	}
	if code, _, errs := run(t, w, "nonsense", "audit", "--input", "-"); code != fault.Input || strings.Count(errs, "\n") != 1 {
		t.Errorf("%d %q", code, errs)
	}
	if code, _, errs := run(t, w, "", "audit", "--input", "/nowhere"); code != fault.Input || !strings.Contains(errs, "no such file") {
		t.Errorf("%d %q", code, errs)
	}
	s := inCluster(t, &w)
	for _, path := range []string{ipam.PoolsPath, ipam.ReservationsPath, ipam.PodsPath} {
		s.SetList(path)
	}
	if code, out, errs := run(t, w, "", "audit", "--service-account-dir", w.Spec.ServiceAccountDir); code != fault.OK {
		t.Errorf("%d %q %q", code, out, errs)
	}
}

// What is in flux differs from one look to the next: only what stays is told.
func TestAuditLooksAgain(t *testing.T) {
	leak := func(offset string) map[string]any {
		return map[string]any{"metadata": map[string]any{"name": "10.0.0.0-24", "namespace": "kube-system"},
			"spec": map[string]any{"range": "10.0.0.0/24", "allocations": map[string]any{"1": map[string]any{"podref": "default/gone"}, offset: map[string]any{"podref": "default/quick"}}}}
	}
	w := nodetest.New(t, t.TempDir(), "v1")
	s := inCluster(t, &w)
	fit(s)
	looks := 0
	s.Refuse = func(r *http.Request) int {
		if r.URL.Path == ipam.PoolsPath {
			looks++
			s.Lists[ipam.PoolsPath] = []any{leak(strconv.Itoa(10 + looks))}
		}
		return 0
	}
	code, out, _ := run(t, w, "", "audit", "--settle", "1ms", "--service-account-dir", w.Spec.ServiceAccountDir)
	if code != fault.Findings || looks != 2 || !strings.Contains(out, "10.0.0.1 ") || !strings.Contains(out, " 1 leaks") {
		t.Errorf("%d after %d looks: %s", code, looks, out)
	}
}
