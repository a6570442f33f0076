//go:build !plugin

package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"

	"k8s.io/klog/v2"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/logging"
)

// logFlags are the flags of a role that logs as the plugin does.
type logFlags struct{ level, format *string }

func addLogFlags(flags *flag.FlagSet) logFlags {
	return logFlags{
		level:  flags.String("log-level", "debug", "how much to log: panic, error, verbose or debug"),
		format: flags.String("log-format", "text", "how to log: text or json"),
	}
}

// apply sets up the logs; the returned function ends what writes them and must be called before the process ends.
func (l logFlags) apply() (end func(), err error) {
	logging.SetLogStderr(true)
	logging.SetLogLevel(*l.level)
	switch *l.format {
	case "text":
		slog.SetDefault(slog.New(textHandler{}))
		return func() {}, nil
	case "json":
		return logJSON()
	}
	return nil, fmt.Errorf("%w: -log-format is %q, expected text or json", errUsage, *l.format)
}

// slogLevel is the least level that is logged, of upstream's.
func slogLevel() slog.Level {
	switch logging.GetLoggingLevel() {
	case logging.PanicLevel:
		return slog.LevelError + 1
	case logging.ErrorLevel:
		return slog.LevelWarn
	case logging.VerboseLevel:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// A textHandler writes records as upstream's package does, with attributes as key=value.
type textHandler struct{ prefix string }

// Enabled implements slog.Handler.
func (textHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= slogLevel() }

// Handle implements slog.Handler.
func (t textHandler) Handle(_ context.Context, record slog.Record) error {
	text := strings.Builder{}
	text.WriteString(record.Message + t.prefix)
	record.Attrs(func(each slog.Attr) bool {
		text.WriteString(" " + each.String())
		return true
	})
	level := logging.DebugLevel
	switch {
	case record.Level >= slog.LevelWarn:
		level = logging.ErrorLevel
	case record.Level >= slog.LevelInfo:
		level = logging.VerboseLevel
	}
	logging.Printf(level, "%s", text.String())
	return nil
}

// WithAttrs implements slog.Handler.
func (t textHandler) WithAttrs(attributes []slog.Attr) slog.Handler {
	for _, each := range attributes {
		t.prefix += " " + each.String()
	}
	return t
}

// WithGroup implements slog.Handler: keys of different groups do not meet here.
func (t textHandler) WithGroup(string) slog.Handler { return t }

// logJSON makes every line a JSON document: our own records, those of Kubernetes' libraries, and what upstream writes as
// text to the standard error stream, which is led through a pipe.
func logJSON() (end func(), err error) {
	stderr := os.Stderr
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("piping the log: %w", err)
	}
	logger := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: slogLevel()}))
	slog.SetDefault(logger)
	klog.SetSlogLogger(logger)
	os.Stderr = writer
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		relog(reader, logger)
	}()
	return func() {
		os.Stderr = stderr
		_ = writer.Close()
		<-drained
		_ = reader.Close()
	}, nil
}

var upstreamLine = regexp.MustCompile(`^\S+ \[(panic|error|verbose|debug)\] (.*)$`)

// relog turns the lines of upstream's log into records, which carry the time at which they are read.
func relog(lines io.Reader, logger *slog.Logger) {
	levels := map[string]slog.Level{
		"panic": slog.LevelError + 1, "error": slog.LevelError, "verbose": slog.LevelInfo, "debug": slog.LevelDebug,
	}
	buffered := bufio.NewReader(lines)
	for {
		line, err := buffered.ReadString('\n')
		line = strings.TrimRight(line, "\n")
		if parts := upstreamLine.FindStringSubmatch(line); parts != nil {
			logger.Log(context.Background(), levels[parts[1]], parts[2])
		} else if line != "" {
			logger.Info(line)
		}
		if err != nil {
			return
		}
	}
}
