package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/skel"
	cnitypes "github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestMain lets the test program be the plugin, where it is called as that.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "whereabouts" {
		plugin()
		return
	}
	os.Exit(m.Run())
}

// A runtime calls the plugin as container runtimes do, through libcni.
type aRuntime struct {
	*libcni.CNIConfig
	network *libcni.NetworkConfigList
	pod     *libcni.RuntimeConf
}

// newRuntime returns a runtime with a network whose kubeconfig names the server, if any, and whose whereabouts.conf is there
// if wanted.
func newRuntime(t *testing.T, server string, withConf bool) aRuntime {
	t.Helper()
	directory := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(directory, "whereabouts")); err != nil {
		t.Fatal(err)
	}
	kubeconfig, conf := filepath.Join(directory, "kubeconfig"), filepath.Join(directory, "whereabouts.conf")
	if server != "" {
		writeFile(t, kubeconfig, fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "c",
			"clusters": [{"name": "c", "cluster": {"server": %q}}], "users": [{"name": "u", "user": {"token": "t"}}],
			"contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "kube-system"}}]}`, server))
	}
	if withConf {
		writeFile(t, conf, fmt.Sprintf(`{"kubernetes": {"kubeconfig": %q}}`, kubeconfig))
	}
	network, err := libcni.ConfListFromBytes(fmt.Appendf(nil, `{"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "whereabouts",
		"ipam": {"type": "whereabouts", "range": "10.0.0.0/29", "configuration_path": %q}}]}`, conf))
	if err != nil {
		t.Fatal(err)
	}
	return aRuntime{
		libcni.NewCNIConfigWithCacheDir([]string{directory}, filepath.Join(directory, "cache"), nil), network,
		&libcni.RuntimeConf{
			ContainerID: "c-a", NetNS: "/proc/1/ns/net", IfName: "net1",
			Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", "a"}},
		},
	}
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// apiServer answers each request with a status.
func apiServer(t *testing.T, status int, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		answer.Header().Set("Content-Type", "application/json")
		answer.WriteHeader(status)
		_, _ = answer.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func refusal(t *testing.T, code int32, reason metav1.StatusReason) string {
	t.Helper()
	body, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Code: code, Reason: reason, Message: string(reason),
	})
	if err != nil {
		t.Fatal(err)
	}
	return apiServer(t, int(code), string(body))
}

const noPools = `{"apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": "IPPoolList", "metadata": {}, "items": []}`

func TestStatusIsWhetherThePluginCanReachItsPools(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, test := range map[string]struct {
		server    string
		withConf  bool
		available bool
	}{
		"all is there":             {apiServer(t, http.StatusOK, noPools), true, true},
		"no whereabouts.conf":      {apiServer(t, http.StatusOK, noPools), false, false},
		"no kubeconfig":            {"", true, false},
		"no API server":            {closed.URL, true, false},
		"the token is not good":    {refusal(t, http.StatusUnauthorized, metav1.StatusReasonUnauthorized), true, false},
		"the right is missing":     {refusal(t, http.StatusForbidden, metav1.StatusReasonForbidden), true, false},
		"the CRD is missing":       {refusal(t, http.StatusNotFound, metav1.StatusReasonNotFound), true, false},
		"the API server is ailing": {refusal(t, http.StatusInternalServerError, metav1.StatusReasonInternalError), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			runtime := newRuntime(t, test.server, test.withConf)
			err := runtime.GetStatusNetworkList(t.Context(), runtime.network)
			if test.available {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var answer *cnitypes.Error
			if !errors.As(err, &answer) || answer.Code != notAvailable || answer.Details == "" {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAPodCanGoWhateverIsMissing(t *testing.T) {
	for name, runtime := range map[string]aRuntime{
		"no whereabouts.conf": newRuntime(t, apiServer(t, http.StatusOK, noPools), false),
		"no kubeconfig":       newRuntime(t, "", true),
	} {
		t.Run(name, func(t *testing.T) {
			if err := runtime.DelNetworkList(t.Context(), runtime.network, runtime.pod); err != nil {
				t.Error(err)
			}
			if _, err := runtime.AddNetworkList(t.Context(), runtime.network, runtime.pod); err == nil {
				t.Error("an ADD without it succeeds")
			}
		})
	}
}

func TestDelTakesTheAddressesThatTheRuntimeRemembers(t *testing.T) {
	const old = `{"metadata": {"name": "10.0.0.0-29"}, "spec": {"range": "10.0.0.0/29", "allocations":
		{"1": {"id": "c-a", "podref": "default/a"}, "2": {"id": "c-a", "podref": "default/a"}}}}`
	var lock sync.Mutex
	var patches []string
	server := httptest.NewServer(http.HandlerFunc(func(to http.ResponseWriter, request *http.Request) {
		to.Header().Set("Content-Type", "application/json")
		body, _ := io.ReadAll(request.Body)
		switch {
		case strings.Contains(request.URL.Path, "/leases") && request.Method != http.MethodGet:
			// What it writes it gets back, in its own encoding.
			to.Header().Set("Content-Type", request.Header.Get("Content-Type"))
			_, _ = to.Write(body)
		case !strings.Contains(request.URL.Path, "/ippools/"):
			to.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(to, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}`)
		case request.Method == http.MethodPatch:
			lock.Lock()
			patches = append(patches, string(body))
			lock.Unlock()
			fallthrough
		default:
			_, _ = io.WriteString(to, old)
		}
	}))
	t.Cleanup(server.Close)
	runtime := newRuntime(t, server.URL, true)
	plugin := map[string]any{}
	if err := json.Unmarshal(runtime.network.Plugins[0].Bytes, &plugin); err != nil {
		t.Fatal(err)
	}
	plugin["cniVersion"], plugin["name"] = "1.0.0", "net"
	plugin["prevResult"] = map[string]any{"cniVersion": "1.0.0", "ips": []any{map[string]any{"address": "10.0.0.2/29"}}}
	text, err := json.Marshal(plugin)
	if err != nil {
		t.Fatal(err)
	}
	call := &skel.CmdArgs{ContainerID: "c-a", IfName: "net1", Args: "K8S_POD_NAMESPACE=default;K8S_POD_NAME=a", StdinData: text}
	if err := del(call); err != nil {
		t.Fatal(err)
	}
	if len(patches) != 1 || !strings.Contains(patches[0], `"op":"remove","path":"/spec/allocations/2"`) {
		t.Errorf("patches: %q", patches)
	}
}

func TestGarbageCollectionReleasesNothing(t *testing.T) {
	// Any request would fail: nothing is asked of the API server.
	runtime := newRuntime(t, refusal(t, http.StatusForbidden, metav1.StatusReasonForbidden), true)
	if err := runtime.GCNetworkList(t.Context(), runtime.network, &libcni.GCArgs{}); err != nil {
		t.Error(err)
	}
}

func TestThePluginSpeaksEachVersionOfCNI(t *testing.T) {
	runtime := newRuntime(t, "", false)
	info, err := runtime.GetVersionInfo(t.Context(), "whereabouts")
	if err != nil {
		t.Fatal(err)
	}
	if versions := info.SupportedVersions(); versions[len(versions)-1] != "1.1.0" {
		t.Errorf("%q", versions)
	}
}

func TestCheckComparesTheResultWithPoolAndReservation(t *testing.T) {
	result := func(texts ...string) *current.Result {
		made := &current.Result{}
		for _, each := range texts {
			made.IPs = append(made.IPs, &current.IPConfig{Address: net.IPNet{IP: net.ParseIP(each), Mask: net.CIDRMask(29, 32)}})
		}
		return made
	}
	drop := func(api clients) {
		_ = api.whereabouts.WhereaboutsV1alpha1().OverlappingRangeIPReservations(namespace).
			Delete(context.Background(), "10.0.0.1", metav1.DeleteOptions{})
	}
	for name, test := range map[string]struct {
		change   func(clients, *attachment)
		previous *current.Result
		problem  string
	}{
		"as it was":           {nil, result("10.0.0.1", "fd00::1"), ""},
		"a static one beside": {nil, result("10.0.0.1", "fd00::1", "192.0.2.1"), ""},
		"another address":     {nil, result("10.0.0.2", "fd00::1"), "10.0.0.1"},
		"one of two":          {nil, result("10.0.0.1"), "fd00::1"},
		"another sandbox":     {func(_ clients, a *attachment) { a.container = "other" }, result("10.0.0.1", "fd00::1"), "10.0.0.0-29"},
		"another pod":         {func(_ clients, a *attachment) { a.config.PodName = "b" }, result("10.0.0.1", "fd00::1"), "default/b"},
		"no pool": {func(_ clients, a *attachment) { a.config.IPRanges[0].Range = "10.0.0.0/28" },
			result("10.0.0.1", "fd00::1"), "no pool 10.0.0.0-28"},
		"no reservation": {func(api clients, _ *attachment) { drop(api) }, result("10.0.0.1", "fd00::1"), "no reservation"},
		"another's reservation": {func(api clients, _ *attachment) {
			drop(api)
			_, _ = api.whereabouts.WhereaboutsV1alpha1().OverlappingRangeIPReservations(namespace).
				Create(context.Background(), reservation("10.0.0.1", "default/b"), metav1.CreateOptions{})
		}, result("10.0.0.1", "fd00::1"), "default/b"},
	} {
		t.Run(name, func(t *testing.T) {
			api := cluster()
			a := attached(api, "a", "net1", "10.0.0.0/29", "fd00::/64")
			mustAllocate(t, a)
			if test.change != nil {
				test.change(api, a)
			}
			err := verify(t.Context(), a, test.previous)
			if test.problem == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			expectError(t, err, test.problem)
		})
	}
}

func TestCheckReadsTheResultOfTheAdd(t *testing.T) {
	got, err := previousResult([]byte(`{"cniVersion": "1.1.0", "name": "net", "type": "macvlan",
		"prevResult": {"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.1/29"}]}}`))
	if err != nil || len(got.IPs) != 1 || got.IPs[0].Address.String() != "10.0.0.1/29" {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = previousResult([]byte(`{"cniVersion": "1.1.0", "name": "net", "type": "macvlan"}`))
	expectError(t, err, "prevResult")
}

func TestACallDoesNotWaitForItsOwnClient(t *testing.T) {
	directory := t.TempDir()
	name := filepath.Join(directory, "kubeconfig")
	writeFile(t, name, `{"apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [{"name": "c", "cluster":
		{"server": "`+apiServer(t, http.StatusOK, noPools)+`"}}], "contexts": [{"name": "c", "context": {"cluster": "c"}}]}`)
	api, found, err := apiOf(name)
	if err != nil || found != metav1.NamespaceSystem {
		t.Fatal(found, err)
	}
	// The limiter counts: what it lets pass without a wait is its burst.
	limiter := api.(endpoint).whereabouts.client.GetRateLimiter()
	for request := range perSecond {
		if !limiter.TryAccept() {
			t.Fatalf("request %d has to wait", request)
		}
	}
}
