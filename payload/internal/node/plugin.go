package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/values"
)

const (
	pluginMode = 0o755
	// pluginTimeout is long for a program that prints one line: a node that starts hundreds of pods is slow.
	pluginTimeout = 30 * time.Second
)

// Digest is a sha256.
type Digest [sha256.Size]byte

// EnsurePlugin puts the image's plugin into the host's binary directory, unless its bytes and mode are there already. The new
// file is run before it takes the old one's place: a plugin that cannot run on this node never becomes the node's plugin.
func EnsurePlugin(ctx context.Context, dir hostfs.Dir, source string) (changed bool, err error) {
	path := dir.Path() + "/" + PluginFile
	digest, err := DigestOf(source)
	if err != nil {
		return false, sourceError(source, err)
	}
	right, err := PluginMatches(dir, digest)
	if err != nil || right {
		return false, err
	}
	f, err := os.Open(source)
	if err != nil {
		return false, sourceError(source, err)
	}
	defer f.Close()
	copied := &digester{r: f, hash: sha256.New()}
	check := func(temp string) error {
		if copied.sum() != digest {
			return sourceError(source, errors.New("changed while it was copied"))
		}
		return compareVersions(ctx, source, dir.Path()+"/"+temp)
	}
	if err := hostfs.Replace(dir, PluginFile, pluginMode, copied, check); err != nil {
		return false, HostError("write", path, dir, values.BinDir, err)
	}
	return true, nil
}

// CheckPlugin runs the plugin on the host once and compares its version with that of the image's plugin.
func CheckPlugin(ctx context.Context, dir hostfs.Dir, source string) error {
	return compareVersions(ctx, source, dir.Path()+"/"+PluginFile)
}

// PluginMatches tells whether the host's plugin has the given content and the right mode and owner.
func PluginMatches(dir hostfs.Dir, want Digest) (bool, error) {
	path := dir.Path() + "/" + PluginFile
	info, err := dir.Lstat(PluginFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, HostError("look at", path, dir, values.BinDir, err)
	}
	if !info.Mode().IsRegular() {
		return false, notPlain(path, info, "file", values.BinDir)
	}
	if info.Mode() != pluginMode || hostfs.Owner(info) != os.Geteuid() {
		return false, nil
	}
	f, err := dir.Open(PluginFile)
	if err != nil {
		return false, nil // what cannot be read is replaced
	}
	defer f.Close()
	found, err := digestOf(f)
	return err == nil && found == want, nil
}

// DigestOf gives a file's sha256.
func DigestOf(path string) (Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return Digest{}, err
	}
	defer f.Close()
	return digestOf(f)
}

func digestOf(r io.Reader) (Digest, error) {
	d := &digester{r: r, hash: sha256.New()}
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{d}, make([]byte, 256<<10)); err != nil {
		return Digest{}, err
	}
	return d.sum(), nil
}

// digester hashes what is read through it.
type digester struct {
	r    io.Reader
	hash hash.Hash
}

func (d *digester) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.hash.Write(p[:n])
	return n, err
}

func (d *digester) sum() Digest { return Digest(d.hash.Sum(nil)) }

func sourceError(source string, err error) *fault.Error {
	return &fault.Error{Code: fault.Input, What: "read the image's plugin", Path: source, Err: cause(err),
		Do: "the image is broken or --source is wrong"}
}

// compareVersions runs both programs side by side: on a busy node each takes its time.
func compareVersions(ctx context.Context, source, installed string) error {
	type answer struct {
		version string
		err     error
	}
	want := make(chan answer, 1)
	go func() {
		version, err := pluginVersion(ctx, source)
		want <- answer{version, err}
	}()
	found, err := pluginVersion(ctx, installed)
	expected := <-want
	if expected.err != nil {
		return &fault.Error{Code: fault.Plugin, What: "run the image's plugin", Path: source, Err: expected.err,
			Do: "the image does not fit this node: look at its platform"}
	}
	if err != nil {
		return &fault.Error{Code: fault.Plugin, What: "run the plugin on the host", Path: installed, Err: err, Do: runAdvice(err)}
	}
	if found != expected.version {
		return &fault.Error{Code: fault.Plugin, What: "the plugin on the host", Path: installed,
			Err: fmt.Errorf("says %q, the image's says %q", found, expected.version),
			Do:  "another program writes the same file: look for a second packaging of Whereabouts on this node"}
	}
	return nil
}

func runAdvice(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("the directory's file system is probably mounted noexec: set the package value %s to another one", values.BinDir)
	case errors.Is(err, syscall.ENOEXEC):
		return "the image was built for another CPU than this node's"
	}
	return "look at the node's memory and security profile"
}

// pluginVersion runs a CNI plugin without a command: it then prints what it is to stderr and ends with 0.
func pluginVersion(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, pluginTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = []string{} // above all no CNI_COMMAND
	cmd.Dir = "/"
	var stderr bytes.Buffer
	cmd.Stderr = &limitedWriter{w: &stderr, left: 4096}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("it did not end: %w", ctx.Err())
		}
		return "", errors.Join(causeOfRun(err), saying(stderr.String()))
	}
	for line := range strings.Lines(stderr.String()) {
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
