package cli_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
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
	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/node/nodetest"
)

// TestMain makes this test's binary the program itself when it is started by one of the tests.
func TestMain(m *testing.M) {
	if os.Getenv("AS_INSTALLER") == "" {
		os.Exit(m.Run())
	}
	os.Exit(cli.Main(cli.Env{Version: "v-test", Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, os.Args[1:]))
}

// run gives the exit code and all output of a command that ends by itself.
func run(t *testing.T, w nodetest.World, stdin string, args ...string) (code fault.Code, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	getenv := func(name string) string {
		return map[string]string{"KUBERNETES_SERVICE_HOST": w.Spec.APIHost, "KUBERNETES_SERVICE_PORT": w.Spec.APIPort}[name]
	}
	env := cli.Env{Version: "v-test", Getenv: getenv, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs}
	return fault.Code(cli.Main(env, args)), out.String(), errs.String()
}

func nodeArgs(command string, w nodetest.World, more ...string) []string {
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
	for _, m := range fault.Meanings() {
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
		"nothing":          {},
		"unknown command":  {"instal"},
		"unknown flag":     append(good, "--bindir=/x"),
		"argument":         append(good, "more"),
		"flag missing":     good[:len(good)-2][:3],
		"empty value":      append(good, "--node-name="),
		"relative path":    append(good, "--bin-dir=opt/cni/bin"),
		"unknown question": {"probe", "health", "--state-dir", "/tmp"},
		"no question":      {"probe", "--state-dir", "/tmp"},
		"no state-dir":     {"probe", "readiness"},
		"bad duration":     {"audit", "--settle", "soon"},
		"negative settle":  {"audit", "--settle", "-1s"},
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
	if !strings.Contains(nodetest.Read(t, w.Host(node.KubeconfigFile)), "token-2") {
		t.Error("ready, but with the old token")
	}
	if err := os.Remove(filepath.Join(w.Spec.ServiceAccountDir, "token")); err != nil {
		t.Fatal(err)
	}
	if text := await("readiness", fault.NotReady); !strings.Contains(text, "token") || strings.Contains(text, "token-2") {
		t.Errorf("not ready because %q", text)
	}
	begin := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v: %s", err, log.String())
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %s to end", took) // it is to end in 1 s; the rest is for a busy machine
	}
	nodetest.Read(t, w.Host(node.KubeconfigFile))
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
	for name, more := range map[string][]string{"forced": {"--force"}, "nothing held": nil} {
		if code, _, errs := run(t, w, "", nodeArgs("install", w)...); code != fault.OK {
			t.Fatal(errs)
		}
		if name == "nothing held" {
			s.SetList(ipam.PoolsPath)
		}
		if code, _, errs := run(t, w, "", append(args, more...)...); code != fault.OK {
			t.Errorf("%s: %d %s", name, code, errs)
		}
		if _, err := os.Lstat(w.Plugin()); err == nil {
			t.Errorf("%s: the plugin stayed", name)
		}
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
