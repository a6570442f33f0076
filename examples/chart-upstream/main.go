// Command signboard shows a text over HTTP, on port 8080.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

var version = "unknown"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: signboard TEXT")
		os.Exit(2)
	}
	if err := serve(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "signboard:", err)
		os.Exit(1)
	}
}

func serve(text string) error {
	ended, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	show := func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(answer, "%s\nsignboard %s\n", text, version)
	}
	server := &http.Server{Addr: ":8080", Handler: http.HandlerFunc(show), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ended.Done()
		server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
