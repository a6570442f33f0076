package refresh

import (
	"errors"
	"fmt"
	"time"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/probe"
)

// Answer says how the loop and the node's files are. Liveness waits for nothing: a loop that hangs is what it has to notice.
func (l *Loop) Answer(question string) (string, error) {
	switch question {
	case probe.Liveness:
		return "", l.alive()
	case probe.State:
		return l.state()
	}
	return "", l.ready()
}

// alive allows for three polls: a pass may be writing the plugin to a slow disk.
func (l *Loop) alive() error {
	if last := l.turned.Load(); last != nil && time.Since(*last) > 3*l.Poll {
		return fmt.Errorf("the refresh loop has not completed a round for %d s", int(time.Since(*last).Seconds()))
	}
	return nil
}

// ready looks at the host itself. A pod whose successor keeps the files is ready: it is about to be deleted, and the plugin
// on the node works.
func (l *Loop) ready() error {
	if l.standby.Load() {
		return nil
	}
	files, err := l.Spec.Files()
	if err != nil {
		return err
	}
	sub, err := l.Open(l.Spec.ConfDir + "/" + l.Spec.Package.SubDir)
	if err != nil {
		return err
	}
	defer sub.Close()
	for _, file := range files {
		right, err := l.Spec.Package.Matches(sub, file)
		if err != nil {
			return err
		}
		if !right {
			return &fault.Error{Code: fault.NotReady, What: "missing or out of date:", Path: sub.Path() + "/" + file.Name}
		}
	}
	if err := l.pluginReady(); err != nil {
		return err
	}
	return l.networkReady()
}

func (l *Loop) pluginReady() error {
	if l.Spec.BinDir == "" {
		return nil
	}
	bin, err := l.Spec.Package.OpenDir(l.Open, l.Spec.BinDir, l.Spec.Package.Keys.BinDir)
	if err != nil {
		return err
	}
	defer bin.Close()
	right, err := l.guard.Check(bin)
	if err == nil && !right {
		err = &fault.Error{Code: fault.NotReady, What: "the plugin", Path: bin.Path() + "/" + l.Spec.Package.Plugin,
			Err: errors.New("is missing or differs from the image's")}
	}
	return err
}

func (l *Loop) networkReady() error {
	if l.Spec.Package.Network == nil {
		return nil
	}
	state, err := l.Spec.LookAtNetwork(l.Open, l.previous())
	if err == nil && !state.Right {
		err = &fault.Error{Code: fault.NotReady, What: "missing or out of date:", Path: state.Path}
	}
	return err
}

// state says which network configuration is the node's, and why.
func (l *Loop) state() (string, error) {
	if err := l.ready(); err != nil {
		return "", err
	}
	if l.standby.Load() {
		return "a newer pod of the package maintains the files", nil
	}
	if l.Spec.Package.Network == nil {
		return "the files are up to date", nil
	}
	state, err := l.Spec.LookAtNetwork(l.Open, l.previous())
	return state.Path + " is up to date: " + state.Why, err
}
