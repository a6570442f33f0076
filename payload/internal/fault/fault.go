// Package fault holds the one error type that an installer shows to an operator, and the exit codes.
package fault

import (
	"cmp"
	"errors"
	"strings"
	"unicode"
)

// Code is an exit code of an installer. Codes are part of its interface: manifests and CI jobs test them.
type Code int

// The exit codes, as the usage text lists them.
const (
	OK        Code = 0
	Internal  Code = 1
	Usage     Code = 2
	Input     Code = 3
	Host      Code = 4
	Plugin    Code = 5
	NotReady  Code = 6
	Preflight Code = 7
	Refused   Code = 8
	Findings  Code = 9
	API       Code = 10
)

// Meaning is what an exit code says.
type Meaning struct {
	Code Code
	Text string
}

// Meanings lists every exit code of a program with the text that the usage shows for it, in order. own has what differs from
// one installer to another; a code that is in neither is not used.
func Meanings(own map[Code]string) []Meaning {
	common := map[Code]string{
		OK:        "success",
		Internal:  "internal error",
		Usage:     "unknown command or flag, or a wrong value of a flag",
		Host:      "a directory of the node cannot be used: missing, a symbolic link, no permission, read-only, full",
		Plugin:    "the plugin does not run on this node, or reports another version than the image's",
		NotReady:  "probe: not ready, or the refresh loop does not respond",
		Preflight: "preflight: the cluster does not meet the requirements of this version",
		API:       "the API server cannot be reached or refused the request",
	}
	var all []Meaning
	for code := OK; code <= API; code++ {
		if text := cmp.Or(own[code], common[code]); text != "" {
			all = append(all, Meaning{code, text})
		}
	}
	return all
}

// Error is a failure as an operator reads it: what failed, on which path, why, and what to do about it.
type Error struct {
	Code Code
	What string // what was attempted: "write the kubeconfig"
	Path string // the file or directory concerned; may be empty
	Err  error  // the cause; may be nil
	Do   string // the remedy, with the package value to set where there is one; may be empty
}

// Error gives one line whatever the parts hold, so that a log collector keeps it together.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.What)
	if e.Path != "" {
		b.WriteString(" " + e.Path)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Do != "" {
		b.WriteString("; " + e.Do)
	}
	return Line(b.String())
}

// Line makes one line of any text, without what a terminal would obey: parts of it may come from somebody else.
func Line(text string) string {
	printable := func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}
	return strings.Map(printable, strings.Join(strings.Fields(text), " "))
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf gives the exit code for err: OK for nil, Internal for an error that is not an *Error.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}
