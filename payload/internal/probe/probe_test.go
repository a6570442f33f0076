package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"carvelwright.dev/payload/internal/fault"
)

// patience is for a busy machine; nothing here takes long.
const patience = 30 * time.Second

// serving answers in a directory until the test ends.
func serving(t *testing.T, answer func(string) (string, error)) string {
	t.Helper()
	dir := t.TempDir()
	listener, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() { Serve(t.Context(), listener, answer) })
	t.Cleanup(served.Wait)
	return dir
}

func TestAnswers(t *testing.T) {
	dir := serving(t, func(question string) (string, error) {
		if question == Readiness {
			return "", errors.New("the file /x\nis not \x1b[31mright")
		}
		return "", nil
	})
	if _, err := Ask(dir, Liveness, patience); err != nil {
		t.Error(err)
	}
	_, err := Ask(dir, Readiness, patience)
	if fault.CodeOf(err) != fault.NotReady || err.Error() != "the file /x is not ?[31mright" {
		t.Errorf("%v", err)
	}
	if _, err := Ask(dir, "health", patience); fault.CodeOf(err) != fault.NotReady || !strings.Contains(err.Error(), "unknown probe") {
		t.Errorf("%v", err)
	}
}

// A readiness check that hangs (a disk that does not answer) does not keep liveness from being told.
func TestAHangingAnswerHoldsUpNoOther(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	dir := serving(t, func(question string) (string, error) {
		if question == Readiness {
			close(asked)
			<-release
		}
		return "", nil
	})
	ended := make(chan error, 1)
	go func() { _, err := Ask(dir, Readiness, patience); ended <- err }()
	<-asked
	if _, err := Ask(dir, Liveness, patience); err != nil {
		t.Error(err)
	}
	close(release)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, path string){
		"no socket": func(*testing.T, string) {},
		"no server": func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a server that says nothing": func(t *testing.T, path string) { listen(t, path, func(net.Conn) { <-t.Context().Done() }) },
		"a server that hangs up":     func(t *testing.T, path string) { listen(t, path, func(net.Conn) {}) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			prepare(t, filepath.Join(dir, socketName))
			if _, err := Ask(dir, Liveness, 50*time.Millisecond); fault.CodeOf(err) != fault.NotReady || !strings.Contains(err.Error(), "does not respond (liveness)") {
				t.Errorf("%v", err)
			}
		})
	}
}

func listen(t *testing.T, path string, serve func(net.Conn)) {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serve(conn)
			_ = conn.Close()
		}
	}()
}

func TestListenReplacesWhatAnEarlierContainerLeft(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		listener, err := Listen(dir)
		if err != nil {
			t.Fatal(err)
		}
		listener.(*net.UnixListener).SetUnlinkOnClose(false) // as kill -9 leaves it
		_ = listener.Close()
	}
	if _, err := Listen(filepath.Join(dir, "nowhere")); fault.CodeOf(err) != fault.Input || !strings.Contains(err.Error(), "emptyDir") {
		t.Errorf("%v", err)
	}
}

func TestServeEnds(t *testing.T) {
	listener, err := Listen(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { Serve(ctx, listener, func(string) (string, error) { return "", nil }); close(ended) }()
	cancel()
	<-ended
}

// Whoever can reach the socket may send anything: only the known questions are put to the loop, and the answer is one line.
func FuzzServe(f *testing.F) {
	f.Add([]byte("readiness\n"))
	f.Add([]byte(" liveness \nmore\n"))
	f.Add([]byte(strings.Repeat("x", 100) + "\n"))
	f.Add([]byte{0, 255, '\n'})
	f.Fuzz(func(t *testing.T, sent []byte) {
		here, there := net.Pipe()
		var asked []string
		served := make(chan struct{})
		go func() {
			defer close(served)
			serve(there, func(question string) (string, error) { asked = append(asked, question); return "", errors.New("a\nb") })
		}()
		go func() { _, _ = here.Write(append(sent, '\n')) }()
		answer, _ := io.ReadAll(here)
		<-served
		_ = here.Close()
		known := len(asked) == 1 && (asked[0] == Readiness || asked[0] == Liveness || asked[0] == State)
		switch text := string(answer); {
		case known && text == "a b\n", len(asked) == 0 && (text == "unknown probe\n" || text == ""):
		default:
			t.Errorf("asked %q, answered %q", asked, text)
		}
	})
}
