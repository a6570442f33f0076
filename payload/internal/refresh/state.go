package refresh

import (
	"errors"
	"fmt"
	"time"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/probe"
	"carvelwright.dev/payload/internal/values"
)

// Answer says how the loop and the node's files are. Liveness waits for nothing: a loop that hangs is what it has to notice.
func (l *Loop) Answer(question string) error {
	if question == probe.Liveness {
		return l.alive()
	}
	return l.ready()
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
	sub, err := l.Open(l.Spec.ConfDir + "/" + node.SubDir)
	if err != nil {
		return err
	}
	defer sub.Close()
	for _, file := range files {
		right, err := node.Matches(sub, file)
		if err != nil {
			return err
		}
		if !right {
			return &fault.Error{Code: fault.NotReady, What: "missing or out of date:", Path: sub.Path() + "/" + file.Name}
		}
	}
	return l.pluginReady()
}

func (l *Loop) pluginReady() error {
	if l.Spec.BinDir == "" {
		return nil
	}
	bin, err := node.OpenDir(l.Open, l.Spec.BinDir, values.BinDir)
	if err != nil {
		return err
	}
	defer bin.Close()
	right, err := l.guard.Check(bin)
	if err == nil && !right {
		err = &fault.Error{Code: fault.NotReady, What: "the plugin", Path: bin.Path() + "/" + node.PluginFile,
			Err: errors.New("is missing or differs from the image's")}
	}
	return err
}
