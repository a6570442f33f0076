package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"carvelwright.dev/payload/internal/claim"
	"carvelwright.dev/payload/internal/crashtest"
	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/node/nodetest"
	"carvelwright.dev/payload/internal/values"
	"carvelwright.dev/payload/internal/whereabouts"
)

func install(t *testing.T, w nodetest.World) []string {
	t.Helper()
	done, err := node.Install(context.Background(), crashtest.Open, w.Spec)
	if err != nil {
		t.Fatal(err)
	}
	return done.Written
}

// refused runs an install that must fail with the code and say each of the words, in one line, without the token.
func refused(t *testing.T, w nodetest.World, code fault.Code, words ...string) {
	t.Helper()
	_, err := node.Install(context.Background(), hostfs.Open, w.Spec)
	if err == nil {
		t.Fatal("installed")
	}
	if got := fault.CodeOf(err); got != code {
		t.Errorf("code %d, want %d (%v)", got, code, err)
	}
	text := err.Error()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%q does not say %q", text, word)
		}
	}
	if strings.Contains(text, "\n") || strings.Contains(text, "token-1") {
		t.Errorf("message is not one line, or shows the token: %q", text)
	}
}

func TestInstallFresh(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	written := install(t, w)
	want := []string{w.Host(whereabouts.ConfFile), w.Host(whereabouts.NodeNameFile), w.Host(whereabouts.KubeconfigFile), w.Plugin()}
	if strings.Join(written, " ") != strings.Join(want, " ") {
		t.Errorf("wrote %v", written)
	}
	w.CheckWhole(t, "fresh", announced)
	if nodetest.Read(t, w.Host(whereabouts.ConfFile)) != nodetest.Read(t, w.Spec.ConfigFile) {
		t.Error("whereabouts.conf was not copied byte for byte")
	}
	if nodetest.Read(t, w.Host(whereabouts.NodeNameFile)) != "node-1.example.org" {
		t.Error("nodename")
	}
	for path, mode := range map[string]os.FileMode{
		w.Host(""): os.ModeDir | 0o700, w.Host(whereabouts.ConfFile): 0o600, w.Host(whereabouts.KubeconfigFile): 0o600, w.Host(whereabouts.NodeNameFile): 0o600,
	} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	var config struct {
		Clusters []struct{ Cluster struct{ Server string } }
		Users    []struct{ User struct{ Token string } }
		Contexts []struct{ Context struct{ Namespace string } }
	}
	if err := json.Unmarshal([]byte(nodetest.Read(t, w.Host(whereabouts.KubeconfigFile))), &config); err != nil {
		t.Fatal(err)
	}
	if config.Clusters[0].Cluster.Server != "https://10.96.0.1:443" || config.Users[0].User.Token != "token-1" ||
		config.Contexts[0].Context.Namespace != "kube-system" {
		t.Errorf("%+v", config)
	}
}

func TestInstallWithAnIPv6APIServer(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	w.Spec.APIHost = "fd00:10:96::1"
	install(t, w)
	if text := nodetest.Read(t, w.Host(whereabouts.KubeconfigFile)); !strings.Contains(text, `"https://[fd00:10:96::1]:443"`) {
		t.Error(text)
	}
}

func TestInstallAgainWritesNothing(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		w := kind.New(t, t.TempDir(), "v1")
		install(t, w)
		before, err := os.Stat(w.Plugin())
		if err != nil {
			t.Fatal(err)
		}
		if written := install(t, w); len(written) != 0 {
			t.Errorf("wrote %v", written)
		}
		after, err := os.Stat(w.Plugin())
		if err != nil || !os.SameFile(before, after) {
			t.Error("the plugin was replaced by itself")
		}
	})
}

func TestInstallHealsModeAndContent(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	install(t, w)
	for _, path := range []string{w.Host(whereabouts.KubeconfigFile), w.Plugin()} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	nodetest.Write(t, w.Host(whereabouts.ConfFile), "{}", 0o600)
	written := install(t, w)
	if len(written) != 3 {
		t.Errorf("wrote %v", written)
	}
	w.CheckWhole(t, "healed", announced)
	w.CheckSecrecy(t, "healed")
}

// A running plugin's file cannot be written in place ("text file busy"); by renaming it can be replaced.
func TestInstallWhileThePluginRuns(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		w := kind.New(t, t.TempDir(), "v1")
		install(t, w)
		running, err := os.Open(w.Plugin())
		if err != nil {
			t.Fatal(err)
		}
		defer running.Close()
		before := nodetest.Read(t, w.Plugin())
		w.SetPlugin(t, "v2")
		install(t, w)
		kept := make([]byte, len(before))
		if n, _ := running.Read(kept); string(kept[:n]) != before[:n] {
			t.Error("the old file changed under the process that had it open")
		}
		w.CheckWhole(t, "upgraded", announced)
	})
}

func TestRollback(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		w := kind.New(t, t.TempDir(), "v2")
		install(t, w)
		w.SetPlugin(t, "v1")
		install(t, w)
		w.CheckWhole(t, "rolled back", announced)
	})
}

func TestTwoInstallersAtOnce(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		w := kind.New(t, t.TempDir(), "v1")
		var group sync.WaitGroup
		errs := make(chan error, 8)
		for range cap(errs) {
			group.Go(func() {
				_, err := node.Install(context.Background(), hostfs.Open, w.Spec)
				errs <- err
			})
		}
		group.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				t.Error(err)
			}
		}
		w.CheckWhole(t, "eight installers", announced)
	})
}

func TestLockedDirectorySaysSo(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	install(t, w)
	dir, err := hostfs.Open(w.Host(""))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	unlock, err := dir.Lock(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = node.Install(ctx, hostfs.Open, w.Spec)
	if !errors.Is(err, hostfs.ErrLocked) {
		t.Errorf("got %v", err)
	}
}

// A link is refused, whether it leads to a file, to a directory or to nothing; neither it nor its target is touched.
func TestRefusesSymlinks(t *testing.T) {
	targets := map[string]func(t *testing.T, w nodetest.World) string{
		"to a file": func(t *testing.T, w nodetest.World) string {
			nodetest.Write(t, filepath.Join(w.Root, "elsewhere"), "precious", 0o644)
			return filepath.Join(w.Root, "elsewhere")
		},
		"to a directory": func(t *testing.T, _ nodetest.World) string { return t.TempDir() },
		"to nothing":     func(_ *testing.T, w nodetest.World) string { return filepath.Join(w.Root, "nowhere") },
	}
	places := map[string]func(w nodetest.World) (at, key string){
		"plugin":        func(w nodetest.World) (string, string) { return w.Plugin(), values.BinDir },
		"kubeconfig":    func(w nodetest.World) (string, string) { return w.Host(whereabouts.KubeconfigFile), values.ConfDir },
		"conf":          func(w nodetest.World) (string, string) { return w.Host(whereabouts.ConfFile), values.ConfDir },
		"nodename":      func(w nodetest.World) (string, string) { return w.Host(whereabouts.NodeNameFile), values.ConfDir },
		"whereabouts.d": func(w nodetest.World) (string, string) { return filepath.Clean(w.Host("")), values.ConfDir },
	}
	for what, place := range places {
		for whereto, target := range targets {
			t.Run(what+" "+whereto, func(t *testing.T) {
				w := nodetest.New(t, t.TempDir(), "v1")
				at, key := place(w)
				to := target(t, w)
				before := nodetest.Tree(t, to)
				if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(to, at); err != nil {
					t.Fatal(err)
				}
				refused(t, w, fault.Host, at, "symbolic link", key)
				if after := nodetest.Tree(t, to); after != before {
					t.Errorf("wrote through the link: was %q, is %q", before, after)
				}
				if found, err := os.Readlink(at); err != nil || found != to {
					t.Errorf("the link was replaced: %q %v", found, err)
				}
			})
		}
	}
}

// An install that failed announces nobody: an older pod's refresher goes on keeping its files.
func TestFailedInstallTakesItsAnnouncementBack(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	if err := os.MkdirAll(w.Host(whereabouts.KubeconfigFile), 0o755); err != nil {
		t.Fatal(err)
	}
	refused(t, w, fault.Host, w.Host(whereabouts.KubeconfigFile))
	entries, err := os.ReadDir(w.Host(""))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if claim.Program(whereabouts.Program).IsClaim(entry.Name()) {
			t.Errorf("%s stayed", entry.Name())
		}
	}
}

func TestRefusesOtherThingsInTheWay(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	if err := os.Mkdir(w.Plugin(), 0o755); err != nil {
		t.Fatal(err)
	}
	refused(t, w, fault.Host, w.Plugin(), "is a directory")
}

func TestMissingDirectories(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	w.Spec.BinDir += "/nowhere"
	refused(t, w, fault.Host, w.Spec.BinDir, "no such file", "whereabouts.config.cni.bin_dir")
	if _, err := os.Stat(w.Host("")); err == nil {
		t.Error("wrote to one directory before it looked at the other")
	}
	w = nodetest.New(t, t.TempDir(), "v1")
	w.Spec.ConfDir += "/nowhere"
	refused(t, w, fault.Host, w.Spec.ConfDir, "no such file", "whereabouts.config.cni.conf_dir")
	w = nodetest.New(t, t.TempDir(), "v1")
	w.Spec.BinDir = w.Spec.ConfigFile
	refused(t, w, fault.Host, "not a directory", "whereabouts.config.cni.bin_dir")
}

func TestBadInputs(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(w *nodetest.World)
		words []string
	}{
		"no token":       {func(w *nodetest.World) { os.Remove(w.Spec.ServiceAccountDir + "/token") }, []string{"token", "no such file"}},
		"empty token":    {func(w *nodetest.World) { os.WriteFile(w.Spec.ServiceAccountDir+"/token", []byte(" \n"), 0o600) }, []string{"token", "empty"}},
		"broken token":   {func(w *nodetest.World) { os.WriteFile(w.Spec.ServiceAccountDir+"/token", []byte("token-1 b"), 0o600) }, []string{"token", "single word"}},
		"no CA":          {func(w *nodetest.World) { os.Remove(w.Spec.ServiceAccountDir + "/ca.crt") }, []string{"ca.crt"}},
		"CA is no PEM":   {func(w *nodetest.World) { os.WriteFile(w.Spec.ServiceAccountDir+"/ca.crt", []byte("x"), 0o600) }, []string{"ca.crt", "PEM"}},
		"no address":     {func(w *nodetest.World) { w.Spec.APIHost = "" }, []string{"KUBERNETES_SERVICE_HOST"}},
		"bad port":       {func(w *nodetest.World) { w.Spec.APIPort = "https" }, []string{"port", "https"}},
		"bad host":       {func(w *nodetest.World) { w.Spec.APIHost = "a/b" }, []string{"a/b"}},
		"no conf":        {func(w *nodetest.World) { os.Remove(w.Spec.ConfigFile) }, []string{"whereabouts.conf", "ConfigMap"}},
		"conf no JSON":   {func(w *nodetest.World) { os.WriteFile(w.Spec.ConfigFile, []byte("{\"a\": }"), 0o600) }, []string{"not valid JSON"}},
		"conf no object": {func(w *nodetest.World) { os.WriteFile(w.Spec.ConfigFile, []byte("null"), 0o600) }, []string{"not a JSON object"}},
		"two documents":  {func(w *nodetest.World) { os.WriteFile(w.Spec.ConfigFile, []byte("{} {}"), 0o600) }, []string{"not valid JSON"}},
		"other path":     {func(w *nodetest.World) { w.Spec.HostConfDir = "/etc/elsewhere" }, []string{"/etc/elsewhere/whereabouts.d", "whereabouts.config.cni.conf_dir"}},
		"other kubeconfig": {func(w *nodetest.World) {
			os.WriteFile(w.Spec.ConfigFile, []byte(`{"kubernetes": {"kubeconfig": "/etc/kubernetes/admin.conf"}}`), 0o600)
		}, []string{`"/etc/kubernetes/admin.conf"`, "/etc/cni/net.d/whereabouts.d/whereabouts.kubeconfig"}},
		"other nodename": {func(w *nodetest.World) {
			os.WriteFile(w.Spec.ConfigFile, []byte(`{"kubernetes": {"kubeconfig": "/etc/cni/net.d/whereabouts.d/whereabouts.kubeconfig"}, "configuration_path": "/etc"}`), 0o600)
		}, []string{`configuration_path is "/etc"`, "nodename"}},
		"no node name":    {func(w *nodetest.World) { w.Spec.NodeName = "" }, []string{"node"}},
		"no namespace":    {func(w *nodetest.World) { w.Spec.Namespace = "" }, []string{"namespace"}},
		"no plugin":       {func(w *nodetest.World) { os.Remove(w.Spec.Source) }, []string{"plugin", w0Source}},
		"huge conf":       {func(w *nodetest.World) { os.Truncate(w.Spec.ConfigFile, 2<<20) }, []string{"larger"}},
		"conf is a dir":   {func(w *nodetest.World) { w.Spec.ConfigFile = w.Spec.ConfDir }, []string{"is a directory"}},
		"unset variable":  {func(w *nodetest.World) { w.Spec.NodeName = "$(NODENAME) " }, []string{"node"}},
		"address w/ zone": {func(w *nodetest.World) { w.Spec.APIHost = "fe80::1%eth0" }, []string{"zone"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := nodetest.New(t, t.TempDir(), "v1")
			c.spoil(&w)
			refused(t, w, fault.Input, c.words...)
			if _, err := os.Stat(w.Plugin()); err == nil {
				t.Error("the plugin was installed all the same")
			}
		})
	}
}

const w0Source = "image/whereabouts"

func TestPluginThatDoesNotRunNeverTakesThePlace(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		for name, c := range map[string]struct{ script, words string }{
			"other CPU": {"\x7fELF not really", "another CPU"},
			"fails":     {"#!/bin/sh\necho no memory >&2\nexit 3\n", "no memory"},
			"silent":    {"#!/bin/sh\nexit 0\n", "no version"},
		} {
			t.Run(name, func(t *testing.T) {
				w := kind.New(t, t.TempDir(), "v1")
				install(t, w)
				before := nodetest.Read(t, w.Plugin())
				nodetest.Write(t, w.Spec.Source, c.script, 0o755)
				_, err := node.Install(context.Background(), hostfs.Open, w.Spec)
				if fault.CodeOf(err) != fault.Plugin {
					t.Errorf("got %v", err)
				}
				if nodetest.Read(t, w.Plugin()) != before {
					t.Error("the working plugin was replaced")
				}
				if entries, _ := os.ReadDir(w.Spec.BinDir); len(entries) != 1 {
					t.Errorf("left behind: %v", entries)
				}
			})
		}
	})
}

// What the host runs must be what was installed: here each copy says where it lies, which the image's cannot match.
func TestPluginThatSaysAnotherVersion(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	nodetest.Write(t, w.Spec.Source, "#!/bin/sh\necho \"$0\" >&2\n", 0o755)
	refused(t, w, fault.Plugin, "reports", "another installation")
	if _, err := os.Stat(w.Plugin()); err == nil {
		t.Error("installed")
	}
}

// The right bytes may have ceased to run: a file system mounted anew with noexec, a security profile.
func TestRightPluginThatDoesNotRunAnyMoreIsTold(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	mark := filepath.Join(w.Root, "mark")
	nodetest.Write(t, w.Spec.Source, "#!/bin/sh\ncase $0 in */host/*) if [ -e "+mark+" ]; then echo not permitted >&2; exit 126; fi;; esac\necho v1 >&2\n", 0o755)
	install(t, w)
	nodetest.Write(t, mark, "", 0o600)
	refused(t, w, fault.Plugin, w.Plugin(), "not permitted")
}

func TestPluginThatHangsIsNotWaitedFor(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	nodetest.Write(t, w.Spec.Source, "#!/bin/sh\nsleep 30\n", 0o755)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := node.Install(ctx, hostfs.Open, w.Spec)
	if text := fmt.Sprint(err); fault.CodeOf(err) != fault.Plugin || !strings.Contains(text, "timed out") || strings.Contains(text, "platform") {
		t.Error(text)
	}
	if entries, _ := os.ReadDir(w.Spec.BinDir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

// A file with the right text that belongs to somebody else can be changed, and its token read, by them.
func TestFilesOfAnotherUserAreReplaced(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	w := nodetest.New(t, t.TempDir(), "v1")
	install(t, w)
	paths := []string{w.Host(whereabouts.KubeconfigFile), w.Plugin()}
	for _, path := range paths {
		if err := os.Chown(path, 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
	install(t, w)
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || hostfs.Owner(info) != 0 {
			t.Errorf("%s belongs to %d (%v)", path, hostfs.Owner(info), err)
		}
	}
}

// The plugin on the host runs without any of the installer's environment: a CNI_COMMAND would make it act.
func TestPluginRunsWithoutEnvironment(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		t.Setenv("CNI_COMMAND", "ADD")
		w := kind.New(t, t.TempDir(), "v1")
		nodetest.Write(t, w.Spec.Source, "#!/bin/sh\n[ -z \"$CNI_COMMAND\" ] || exit 9\necho v1 >&2\n", 0o755)
		install(t, w)
	})
}

func TestLeftoversOfOthersStay(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	mine := filepath.Join(w.Spec.BinDir, ".whereabouts-installer-whereabouts-0011223344556677.tmp")
	others := []string{filepath.Join(w.Spec.BinDir, "macvlan"), filepath.Join(w.Spec.BinDir, ".macvlan.tmp"), filepath.Join(w.Spec.ConfDir, "10-calico.conflist")}
	for _, path := range append(others, mine) {
		nodetest.Write(t, path, "x", 0o644)
	}
	install(t, w)
	for _, path := range others {
		nodetest.Read(t, path)
	}
	if _, err := os.Stat(mine); err == nil {
		t.Error("the leftover of a killed installer stayed")
	}
}

// An existing directory's mode is somebody's decision.
func TestExistingDirectoryKeepsItsMode(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		w := kind.New(t, t.TempDir(), "v1")
		if err := os.Mkdir(strings.TrimSuffix(w.Host(""), "/"), 0o750); err != nil {
			t.Fatal(err)
		}
		install(t, w)
		if info, err := os.Stat(w.Host("")); err != nil || info.Mode().Perm() != 0o750 {
			t.Errorf("%v %v", info.Mode(), err)
		}
	})
}
