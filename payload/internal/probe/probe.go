// Package probe lets the kubelet ask the refresh loop how it is, over a socket in the pod.
//
// A socket needs no clock, no file that is rewritten for ever, and the answer is about now.
package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"carvelwright.dev/payload/internal/fault"
)

// Questions that can be asked.
const (
	Readiness = "readiness"
	Liveness  = "liveness"
	// State is for people: its answer is a text.
	State = "state"
)

// Questions lists them.
func Questions() []string { return []string{Readiness, Liveness, State} }

const (
	socketName = "probe.sock"
	answerTime = 5 * time.Second
	well       = "ok"
	// answerLimit bounds what is read of an answer.
	answerLimit = 16 << 10
)

// Listen opens the socket in dir; one that an earlier container of the pod left is replaced.
func Listen(dir string) (net.Listener, error) {
	path := filepath.Join(dir, socketName)
	failed := func(err error) error {
		return &fault.Error{Code: fault.Input, What: "listen for probes on", Path: path, Err: err,
			Do: "set --state-dir to a writable volume of the pod (an emptyDir)"}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, failed(err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, failed(err)
	}
	return listener, nil
}

// Serve answers questions until ctx is done. answer gives nil when all is well, and what there is to say then. Each connection has
// its own goroutine: a readiness check that hangs on a disk must not make liveness fail.
func Serve(ctx context.Context, listener net.Listener, answer func(question string) (string, error)) {
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(time.Second) // out of descriptors: they may come back
			continue
		}
		go serve(conn, answer)
	}
}

func serve(conn net.Conn, answer func(string) (string, error)) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(answerTime))
	line, err := bufio.NewReader(io.LimitReader(conn, 64)).ReadString('\n')
	if err != nil {
		return
	}
	question, text := strings.TrimSpace(line), well
	if !slices.Contains(Questions(), question) {
		text = "unknown probe"
	} else if more, err := answer(question); err != nil {
		text = fault.Line(err.Error())
	} else if more != "" {
		text = well + " " + fault.Line(more)
	}
	_, _ = io.WriteString(conn, text+"\n")
}

// Ask puts a question to the refresher that listens in dir and gives nil when all is well, and what it says then.
func Ask(dir, question string, timeout time.Duration) (string, error) {
	path := filepath.Join(dir, socketName)
	no := func(err error) (string, error) {
		return "", &fault.Error{Code: fault.NotReady, What: fmt.Sprintf("the refresh loop does not respond (%s)", question), Path: path, Err: err}
	}
	deadline := time.Now().Add(timeout)
	conn, err := net.DialTimeout("unix", path, timeout)
	if err != nil {
		return no(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(deadline)
	if _, err := io.WriteString(conn, question+"\n"); err != nil {
		return no(err)
	}
	answer, err := io.ReadAll(io.LimitReader(conn, answerLimit))
	if err != nil {
		return no(err)
	}
	text := strings.TrimSpace(string(answer))
	if text == "" {
		return no(errors.New("it closed the connection"))
	}
	if more, ok := strings.CutPrefix(text+" ", well+" "); ok {
		return strings.TrimSpace(more), nil
	}
	return "", &fault.Error{Code: fault.NotReady, What: text}
}
