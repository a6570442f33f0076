package refresh

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// Watch tells of changes in directories. Its channels are nil when there is nothing to watch with.
type Watch struct {
	Events <-chan fsnotify.Event
	Errors <-chan error
	Add    func(dir string) error
	Close  func() error
}

// watchKernel asks the kernel (inotify).
func watchKernel() (Watch, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return Watch{}, err
	}
	return Watch{w.Events, w.Errors, w.Add, w.Close}, nil
}

// beginWatch gives a Watch that sees nothing when there can be none: inotify instances are a limited resource of the node, and
// the poll alone still works.
func (l *Loop) beginWatch() Watch {
	w, err := l.Watching()
	if err != nil {
		l.Logf("cannot watch directories, only polling every %s: %v; raise fs.inotify.max_user_instances on the node", l.Poll, err)
		return Watch{Add: func(string) error { return nil }, Close: func() error { return nil }}
	}
	return w
}

// watchAll adds the directories again before each pass: one that was removed and made anew is another one to the kernel.
func (l *Loop) watchAll(w Watch) {
	dirs := []string{l.Spec.ServiceAccountDir, filepath.Dir(l.Spec.ConfigFile), l.Spec.ConfDir, filepath.Join(l.Spec.ConfDir, l.Spec.Package.SubDir)}
	if l.Spec.BinDir != "" {
		dirs = append(dirs, l.Spec.BinDir)
	}
	for _, dir := range dirs {
		if err := w.Add(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fsnotify.ErrClosed) {
			l.Logf("cannot watch %s, only polling it: %v", dir, err)
		}
	}
}
