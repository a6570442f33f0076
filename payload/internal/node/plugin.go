package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/hostfs"
)

const (
	pluginMode = 0o755
	// pluginTimeout is long for a program that prints one line: a node that starts hundreds of pods is slow.
	pluginTimeout = 30 * time.Second
	compareSize   = 128 << 10
)

// EnsurePlugin puts the image's plugin into the host's binary directory, unless its bytes and mode are there already, and runs
// it once. A new file is run before it takes the old one's place: a plugin that cannot run on this node never becomes the
// node's plugin. The caller holds the directory's lock.
func (p Package) EnsurePlugin(ctx context.Context, dir hostfs.Dir, source string) (changed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	// The image's plugin runs while the files are read and written: that hides half of what the check costs.
	expected := startPlugin(ctx, source)
	defer expected.version() // no process is left behind
	defer cancel()
	path := dir.Path() + "/" + p.Plugin
	right, err := p.PluginMatches(dir, source)
	if err != nil {
		return false, err
	}
	if right {
		return false, p.compareVersions(ctx, source, path, expected)
	}
	f, err := os.Open(source)
	if err != nil {
		return false, sourceError(source, err)
	}
	defer f.Close()
	check := func(temp string) error { return p.compareVersions(ctx, source, dir.Path()+"/"+temp, expected) }
	if err := p.temporary().Replace(dir, p.Plugin, pluginMode, f, check); err != nil {
		return false, p.HostError("write", path, dir, p.Keys.BinDir, err)
	}
	return true, nil
}

// PluginMatches tells whether the host's plugin has the content of source, and the mode and owner it shall have. All bytes are
// compared: that says more than equal digests and costs a fifth of making two of them of 50 MB.
func (p Package) PluginMatches(dir hostfs.Dir, source string) (bool, error) {
	path := dir.Path() + "/" + p.Plugin
	info, err := dir.Lstat(p.Plugin)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, p.HostError("inspect", path, dir, p.Keys.BinDir, err)
	}
	if !info.Mode().IsRegular() {
		return false, notPlain(path, info, "file", p.Keys.BinDir)
	}
	if info.Mode() != pluginMode || hostfs.Owner(info) != os.Geteuid() {
		return false, nil
	}
	found, err := dir.Open(p.Plugin)
	if err != nil {
		return false, nil // what cannot be read is replaced
	}
	defer found.Close()
	want, err := os.Open(source)
	if err != nil {
		return false, sourceError(source, err)
	}
	defer want.Close()
	wanted, err := want.Stat()
	if err != nil {
		return false, sourceError(source, err)
	}
	if wanted.Size() != info.Size() {
		return false, nil
	}
	return sameContent(source, want, found)
}

func sameContent(source string, want, found io.Reader) (bool, error) {
	a, b := make([]byte, compareSize), make([]byte, compareSize)
	for {
		n, wantErr := io.ReadFull(want, a)
		if wantErr != nil && !ended(wantErr) {
			return false, sourceError(source, wantErr)
		}
		m, err := io.ReadFull(found, b)
		if (err != nil && !ended(err)) || !bytes.Equal(a[:n], b[:m]) {
			return false, nil
		}
		if wantErr != nil {
			return true, nil
		}
	}
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

func sourceError(source string, err error) *fault.Error {
	return &fault.Error{Code: fault.Input, What: "read the image's plugin", Path: source, Err: cause(err),
		Do: "check the image and --source"}
}

// compareVersions runs the plugin on the host and compares what it says with what the image's said.
func (p Package) compareVersions(ctx context.Context, source, installed string, expected *run) error {
	found, err := startPlugin(ctx, installed).version()
	want, wantErr := expected.version()
	if wantErr != nil {
		return &fault.Error{Code: fault.Plugin, What: "run the image's plugin", Path: source, Err: wantErr,
			Do: p.runAdvice(wantErr, "check that the image's platform is that of this node")}
	}
	if err != nil {
		return &fault.Error{Code: fault.Plugin, What: "run the plugin on the host", Path: installed, Err: err, Do: p.runAdvice(err, "check the node's memory and security profile")}
	}
	if found != want {
		return &fault.Error{Code: fault.Plugin, What: "the plugin on the host", Path: installed,
			Err: fmt.Errorf("reports %q, the image's reports %q", found, want),
			Do:  fmt.Sprintf("look for another installation of %s on this node that writes the same file", p.Title)}
	}
	return nil
}

// errTooSlow is what became of a plugin that did not end within pluginTimeout, or the caller's own deadline.
var errTooSlow = errors.New("timed out: it did not end")

// runAdvice says what to do about a plugin that did not run; otherwise is for reasons that are not known.
func (p Package) runAdvice(err error, otherwise string) string {
	switch {
	case errors.Is(err, errTooSlow):
		return "the node is too busy or its disk too slow: look at both; it is tried again"
	case errors.Is(err, context.Canceled):
		return "the container was stopped: nothing is wrong with the plugin's file"
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("set the package value %s to another directory: the file system is probably mounted noexec", p.Keys.BinDir)
	case errors.Is(err, syscall.ENOEXEC):
		return "the image was built for another CPU than this node's"
	}
	return otherwise
}

// run is a plugin that was started to say its version.
type run struct {
	version func() (string, error) // waits for it; may be called more than once
}

// startPlugin starts a CNI plugin without a command: it then prints what it is to stderr and ends with 0.
//
// It starts at once and only the waiting can be put off: a process that is forked while a file is open for writing keeps that
// file busy until it has executed its program, and a busy file cannot be run.
func startPlugin(ctx context.Context, path string) *run {
	limited, cancel := context.WithTimeout(ctx, pluginTimeout)
	cmd := exec.CommandContext(limited, path)
	cmd.Env = []string{} // above all no CNI_COMMAND
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second // for a child of its own that keeps stderr open
	var stderr bytes.Buffer
	cmd.Stderr = &limitedWriter{w: &stderr, left: 4096}
	startErr := cmd.Start()
	wait := func() error {
		defer cancel()
		err := startErr
		if err == nil {
			err = cmd.Wait()
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(limited.Err(), context.DeadlineExceeded):
			return errTooSlow
		case ctx.Err() != nil:
			return fmt.Errorf("stopped: %w", ctx.Err())
		}
		return errors.Join(causeOfRun(err), saying(stderr.String()))
	}
	// Waited for here, and not where its answer is wanted: the limit is the program's, not that of what the caller does meanwhile.
	done := make(chan error, 1)
	go func() { done <- wait() }()
	return &run{sync.OnceValues(func() (string, error) {
		if err := <-done; err != nil {
			return "", err
		}
		return firstLine(stderr.String())
	})}
}

func firstLine(text string) (string, error) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			return line, nil
		}
	}
	return "", errors.New("it printed no version to stderr")
}

func causeOfRun(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return err
	}
	return cause(err)
}

func saying(text string) error {
	if text = strings.TrimSpace(text); text == "" {
		return nil
	}
	return fmt.Errorf("it said %q", text)
}

// limitedWriter keeps the beginning of what a program prints.
type limitedWriter struct {
	w    io.Writer
	left int
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	keep := min(len(p), l.left)
	l.left -= keep
	if _, err := l.w.Write(p[:keep]); err != nil {
		return 0, err
	}
	return len(p), nil
}
