package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/logging"
	"k8s.io/klog/v2"
)

// logSomething is run in a process of its own: what logs is common to all of a process.
func logSomething(format string) {
	logs := addLogFlags(flag.NewFlagSet("", flag.ContinueOnError))
	*logs.format, *logs.level = format, "verbose"
	end, err := logs.apply()
	if err != nil {
		panic(err)
	}
	logging.Verbosef("upstream's %d", 1)
	_ = logging.Errorf("upstream's %s", "error")
	logging.Debugf("too much")
	slog.Info("ours", "count", 2)
	slog.Debug("too much")
	slog.Warn("our warning")
	if format == "json" {
		klog.Info("Kubernetes'")
		fmt.Fprintln(os.Stderr, "anything else")
	}
	end()
}

func logged(t *testing.T, format string) []string {
	t.Helper()
	command := exec.Command(os.Args[0], "-test.run=^TestLogFormats$")
	command.Env = append(os.Environ(), "LOG_FORMAT="+format)
	var text strings.Builder
	command.Stderr = &text
	if err := command.Run(); err != nil {
		t.Fatal(err, text.String())
	}
	var lines []string
	for scanner := bufio.NewScanner(strings.NewReader(text.String())); scanner.Scan(); {
		lines = append(lines, scanner.Text())
	}
	return lines
}

func TestLogFormats(t *testing.T) {
	if format, child := os.LookupEnv("LOG_FORMAT"); child {
		logSomething(format)
		return
	}
	found := map[string]string{}
	for _, line := range logged(t, "json") {
		var record struct{ Time, Level, Msg string }
		if err := json.Unmarshal([]byte(line), &record); err != nil || record.Time == "" {
			t.Errorf("%s: %v", line, err)
		}
		found[record.Msg] = record.Level
	}
	for message, level := range map[string]string{
		"upstream's 1": "INFO", "upstream's error": "ERROR", "ours": "INFO", "our warning": "WARN",
		"Kubernetes'": "INFO", "anything else": "INFO",
	} {
		if found[message] != level {
			t.Errorf("%s: level %q, want %q", message, found[message], level)
		}
	}
	if len(found) != 6 {
		t.Errorf("%d records, want 6: %v", len(found), found)
	}
	var messages []string
	for _, line := range logged(t, "text") {
		_, message, _ := strings.Cut(line, " ")
		messages = append(messages, message)
	}
	want := []string{"[verbose] upstream's 1", "[error] upstream's error", "[verbose] ours count=2", "[error] our warning"}
	if strings.Join(messages, "\n") != strings.Join(want, "\n") {
		t.Errorf("text:\n%q, want\n%q", messages, want)
	}
}

func TestAnUnknownLogFormatIsAWrongCommandLine(t *testing.T) {
	done, _, err := parseLogged(flag.NewFlagSet("", flag.ContinueOnError), []string{"-log-format=xml"})
	if !done || !errors.Is(err, errUsage) {
		t.Errorf("done %v, error %v", done, err)
	}
}

func TestAScheduleThatIsWrongIsNotTakenOver(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if usable(file) {
		t.Error("a missing file is usable")
	}
	for text, want := range map[string]bool{"*/5 * * * *\n": true, "@every 10s": true, "*/5 * * *": false, "": false} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if usable(file) != want {
			t.Errorf("%q: usable is %v", text, !want)
		}
	}
}
