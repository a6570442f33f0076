package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"

	"carvelwright.dev/payload/internal/claim"
	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/hostfs/hostfstest"
	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/node/nodetest"
	"carvelwright.dev/payload/internal/probe"
	"carvelwright.dev/payload/internal/refresh"
	"carvelwright.dev/payload/internal/whereabouts"
)

// These tests run in bubbles, where time is exact: it stands still while anything works and passes only while all wait. What
// they say about seconds holds on any machine. The kernel's own events need real time: refresh_test.go has them.

// promised is how soon after a change the files on the host are right.
const promised = 2 * time.Second

// slow is how soon what nothing told of is found.
const slow = time.Minute

// events stands in for the kernel.
type events chan fsnotify.Event

func (e events) watch() (refresh.Watch, error) {
	return refresh.Watch{Events: e, Add: func(string) error { return nil }, Close: func() error { return nil }}, nil
}

func (e events) tell() { e <- fsnotify.Event{Name: "some", Op: fsnotify.Create} }

func (e events) use(l *refresh.Loop) { l.Watching = e.watch }

func blind(l *refresh.Loop) {
	l.Watching = func() (refresh.Watch, error) { return refresh.Watch{}, errors.New("too many open files") }
}

// took waits for the condition and gives how long that was, to a hundredth of the limit.
func took(t *testing.T, limit time.Duration, cond func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !cond() {
		if time.Since(begin) > limit {
			t.Fatalf("not within %s", limit)
		}
		time.Sleep(limit / 100)
	}
	return time.Since(begin)
}

// changes are all that can happen to the inputs and to the host.
func changes(kind nodetest.Kind) map[string]func(t *testing.T, w nodetest.World) {
	all := map[string]func(t *testing.T, w nodetest.World){
		"token rotated": func(t *testing.T, w nodetest.World) { w.SetToken(t, "token-2") },
		"CA rotated": func(t *testing.T, w nodetest.World) {
			nodetest.Write(t, filepath.Join(w.Spec.ServiceAccountDir, "ca.crt"), nodetest.CA+nodetest.CA, 0o600)
		},
		"conf changed":       func(t *testing.T, w nodetest.World) { w.SetConf(t, "panic") },
		"kubeconfig deleted": func(t *testing.T, w nodetest.World) { must(t, os.Remove(w.Kubeconfig())) },
		"conf open for all":  func(t *testing.T, w nodetest.World) { must(t, os.Chmod(w.Conf(), 0o644)) },
		"directory deleted":  func(t *testing.T, w nodetest.World) { must(t, os.RemoveAll(w.Host(""))) },
		"plugin deleted":     func(t *testing.T, w nodetest.World) { must(t, os.Remove(w.Plugin())) },
		"plugin edited":      func(t *testing.T, w nodetest.World) { nodetest.Write(t, w.Plugin(), "#!/bin/sh\n", 0o755) },
	}
	if kind == nodetest.Whereabouts {
		all["nodename edited"] = func(t *testing.T, w nodetest.World) {
			nodetest.Write(t, w.Host(whereabouts.NodeNameFile), "other", 0o600)
		}
		return all
	}
	all["conf deleted"] = func(t *testing.T, w nodetest.World) { must(t, os.Remove(w.Conf())) }
	all["primary network changed"] = func(t *testing.T, w nodetest.World) { w.SetPrimary(t, "10.9.0.0/24") }
	all["another primary network first"] = func(t *testing.T, w nodetest.World) {
		nodetest.Write(t, filepath.Join(w.Spec.ConfDir, "05-first.conf"), `{"name": "first", "type": "bridge"}`, 0o644)
	}
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWithinTwoSecondsOfAChange(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		for name, change := range changes(kind) {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := kind.New(t, t.TempDir(), "v1")
					e := make(events)
					r := start(t, w.Spec, refresh.PollInterval, e.use)
					time.Sleep(5 * time.Second)
					change(t, w)
					e.tell()
					took(t, promised, func() bool { return whole(w) && ready(r)() })
				})
			})
		}
	})
}

// Somebody who writes to the directories all the time can neither put the rewriting off nor make it run all the time.
func TestWithinTwoSecondsInAStormOfEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := nodetest.New(t, t.TempDir(), "v1")
		e := make(events)
		p := &passes{}
		r := start(t, w.Spec, refresh.PollInterval, e.use, p.count)
		stop := make(chan struct{})
		var storm sync.WaitGroup
		storm.Go(func() {
			for {
				select {
				case e <- fsnotify.Event{Name: "other"}:
					time.Sleep(time.Millisecond)
				case <-stop:
					return
				}
			}
		})
		defer storm.Wait()
		defer close(stop)
		time.Sleep(5 * time.Second)
		w.SetToken(t, "token-2")
		took(t, promised, func() bool { return whole(w) && ready(r)() })
		before := p.n.Load()
		time.Sleep(10 * time.Second)
		if n := p.n.Load() - before; n > 110 {
			t.Errorf("%d passes in 10 s", n)
		}
	})
}

// A loop that has failed for long looks at an event as soon as one that has not.
func TestWithinTwoSecondsAfterLongTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := nodetest.New(t, t.TempDir(), "v1")
		e := make(events)
		start(t, w.Spec, refresh.PollInterval, e.use)
		must(t, os.Remove(filepath.Join(w.Spec.ServiceAccountDir, "token")))
		e.tell()
		time.Sleep(10 * time.Minute)
		w.SetToken(t, "token-2")
		e.tell()
		took(t, promised, func() bool { return whole(w) })
	})
}

// A change is not lost by one failure to write it.
func TestWithinTwoSecondsInSpiteOfAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := nodetest.New(t, t.TempDir(), "v1")
		e := make(events)
		var fail atomic.Bool
		start(t, w.Spec, refresh.PollInterval, e.use, func(l *refresh.Loop) {
			l.Open = hostfstest.Wrap(hostfs.Open, func(call, _ string) error {
				if call == "rename" && fail.Swap(false) {
					return os.ErrPermission
				}
				return nil
			})
		})
		time.Sleep(5 * time.Second)
		fail.Store(true)
		w.SetToken(t, "token-2")
		e.tell()
		took(t, promised, func() bool { return whole(w) })
		if fail.Load() {
			t.Error("no write failed: the test does not see them")
		}
	})
}

// passes counts how often the loop looks at the host.
type passes struct{ n atomic.Int64 }

func (p *passes) count(l *refresh.Loop) {
	open := l.Open
	l.Open = func(path string) (hostfs.Dir, error) {
		if path == l.Spec.ConfDir {
			p.n.Add(1)
		}
		return open(path)
	}
}

// quiet waits until the refresher's own writes cause no more passes, by which it would find a change that no event told.
func (p *passes) quiet(t *testing.T) {
	t.Helper()
	last, since := int64(-1), time.Now()
	eventually(t, "quiet", func() bool {
		if n := p.n.Load(); n != last {
			last, since = n, time.Now()
		}
		return last > 0 && time.Since(since) > 400*time.Millisecond
	})
}

// The slow poll finds what nothing told of, and is slow: it is all that an idle refresher does.
func TestSlowPoll(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		for name, change := range changes(kind) {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := kind.New(t, t.TempDir(), "v1")
					start(t, w.Spec, refresh.PollInterval, make(events).use)
					time.Sleep(5 * time.Second)
					change(t, w)
					if waited := took(t, slow, func() bool { return whole(w) }); waited < promised {
						t.Errorf("healed after %s without an event: the test sees something else than the poll", waited)
					}
				})
			})
		}
		synctest.Test(t, func(t *testing.T) {
			w := kind.New(t, t.TempDir(), "v1")
			p := &passes{}
			start(t, w.Spec, refresh.PollInterval, make(events).use, p.count)
			time.Sleep(5 * time.Second)
			before := p.n.Load()
			time.Sleep(time.Hour)
			limit := int64(120)
			if kind == nodetest.Multus {
				limit *= 2 // a pass opens the directory a second time, for the network configuration
			}
			if n := p.n.Load() - before; n > limit {
				t.Errorf("%d looks in an idle hour", n)
			}
		})
	})
}

// A node without an inotify instance to spare still gets its token, later.
func TestNothingToWatchWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := nodetest.New(t, t.TempDir(), "v1")
		r := start(t, w.Spec, refresh.PollInterval, blind)
		time.Sleep(5 * time.Second)
		w.SetToken(t, "token-2")
		took(t, slow, func() bool { return whole(w) })
		if log := r.log(); !strings.Contains(log, "fs.inotify.max_user_instances") || strings.Count(log, "cannot watch") != 1 {
			t.Error(log)
		}
	})
}

// SIGTERM cancels the context: whatever the loop waits for, it waits no longer. (One that hangs in a system call: package cli.)
func TestEndsAtOnce(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		for name, arrange := range map[string]func(t *testing.T, w nodetest.World, e events){
			"idle": func(*testing.T, nodetest.World, events) {},
			"in trouble": func(t *testing.T, w nodetest.World, e events) {
				must(t, os.Remove(filepath.Join(w.Spec.ServiceAccountDir, "token")))
				e.tell()
			},
			"waiting for a lock": func(t *testing.T, w nodetest.World, e events) {
				unlock, err := dir(t, w.Host("")).Lock(context.Background())
				must(t, err)
				time.AfterFunc(time.Minute, unlock)
				e.tell()
			},
			"standing back": func(t *testing.T, w nodetest.World, e events) {
				_, release, err := claim.Program(whereabouts.Program).Take(dir(t, w.Host("")), claim.Held)
				must(t, err)
				t.Cleanup(release)
				e.tell()
			},
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := kind.New(t, t.TempDir(), "v1")
					e := make(events)
					r := start(t, w.Spec, refresh.PollInterval, e.use)
					time.Sleep(5 * time.Second)
					arrange(t, w, e)
					time.Sleep(2 * time.Second)
					begin := time.Now()
					r.stop()
					if waited := time.Since(begin); waited > 0 {
						t.Errorf("ended after %s", waited)
					}
				})
			})
		}
	})
}

func dir(t *testing.T, path string) hostfs.Dir {
	t.Helper()
	d, err := hostfs.Open(path)
	must(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// An install that was never followed by its refresher (the pod was deleted in between) does not bind the older one for ever.
func TestAnnouncedOneThatNeverComes(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		synctest.Test(t, func(t *testing.T) {
			w := kind.New(t, t.TempDir(), "v1")
			r := start(t, w.Spec, refresh.PollInterval, make(events).use)
			time.Sleep(5 * time.Second)
			newer := w
			newer.Spec.ServiceAccountDir = filepath.Join(w.Root, "new-sa")
			kubelet(t, newer.Spec.ServiceAccountDir, 0, "secret-new")
			_, err := node.Install(context.Background(), hostfs.Open, newer.Spec)
			must(t, err)
			time.Sleep(time.Minute)
			if !whole(newer) {
				t.Error("did not stand back for a minute")
			}
			took(t, 2*time.Minute, func() bool { return whole(w) })
			if !strings.Contains(r.log(), "maintains the files again") {
				t.Error(r.log())
			}
		})
	})
}

// Trouble that stays is looked at ever more seldom, and told once.
func TestTroubleIsTriedMoreAndMoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := nodetest.New(t, t.TempDir(), "v1")
		must(t, os.RemoveAll(w.Spec.ConfDir))
		var times []time.Duration
		begin := time.Now()
		r := start(t, w.Spec, refresh.PollInterval, make(events).use, func(l *refresh.Loop) {
			l.Open = func(path string) (hostfs.Dir, error) {
				times = append(times, time.Since(begin))
				return hostfs.Open(path)
			}
		})
		time.Sleep(2 * time.Minute)
		r.stop()
		want := []time.Duration{0, 1, 3, 7, 15, 31, 61, 91}
		for i := range want {
			want[i] *= time.Second
		}
		if !slices.Equal(times[:min(len(times), len(want))], want) {
			t.Errorf("tried at %v", times)
		}
		if n := strings.Count(r.log(), w.Spec.ConfDir); n != 1 {
			t.Errorf("told %d times:\n%s", n, r.log())
		}
	})
}

// A disk that needs longer for the plugin's 50 MB than any limit for a lock or for running it: the plugin is put back all the
// same, and nothing is said of the platform.
func TestSlowDisk(t *testing.T) {
	for _, needs := range []time.Duration{5500 * time.Millisecond, 80 * time.Second} {
		t.Run(needs.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := nodetest.New(t, t.TempDir(), "v1")
				e := make(events)
				r := start(t, w.Spec, refresh.PollInterval, e.use, func(l *refresh.Loop) {
					l.Open = hostfstest.Wrap(hostfs.Open, func(call, name string) error {
						if call == "end writing" && strings.Contains(name, "-whereabouts-") {
							time.Sleep(needs)
						}
						return nil
					})
				})
				took(t, needs+2*time.Second, func() bool { return whole(w) && ready(r)() })
				if text := r.log(); strings.Contains(text, "platform") || strings.Contains(text, "timed out") {
					t.Error(text)
				}
			})
		})
	}
}

// Liveness allows for a slow pass and not for one that hangs, and asks nothing that could hang with it.
func TestLiveness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := nodetest.New(t, t.TempDir(), "v1")
		e := make(events)
		hang := make(chan struct{})
		r := start(t, w.Spec, refresh.PollInterval, e.use, func(l *refresh.Loop) {
			l.Open = hostfstest.Wrap(hostfs.Open, func(call, name string) error {
				if call == "rename" && name == whereabouts.KubeconfigFile {
					<-hang // a disk that does not answer
				}
				return nil
			})
		})
		alive := func() bool { return answer(r.Loop, probe.Liveness) == nil }
		time.Sleep(3 * refresh.PollInterval)
		if !alive() {
			t.Error("dead too soon")
		}
		time.Sleep(time.Second)
		if alive() {
			t.Error("a loop that hangs passes for alive")
		}
		close(hang)
		took(t, time.Second, alive)
		for range 100 {
			time.Sleep(refresh.PollInterval / 3)
			if !alive() {
				t.Fatal("an idle loop passes for dead")
			}
		}
	})
}

// Readiness is about the host as it is now, whatever the loop has done: here there is no loop that could mend it.
func TestReadinessSeesEachHarm(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		for name, change := range changes(kind) {
			t.Run(name, func(t *testing.T) {
				w := kind.New(t, t.TempDir(), "v1")
				_, err := node.Install(context.Background(), hostfs.Open, w.Spec)
				must(t, err)
				loop := refresh.New(w.Spec, t.Logf)
				for range 2 { // the second answer rests on what the first has seen
					must(t, answer(loop, probe.Readiness))
				}
				change(t, w)
				err = answer(loop, probe.Readiness)
				if code := fault.CodeOf(err); code != fault.NotReady && code != fault.Host && !errors.Is(err, os.ErrNotExist) {
					t.Errorf("ready, or: %v", err)
				}
				if text := fmt.Sprint(err); !strings.Contains(text, w.Root) || strings.Contains(text, "token-") || strings.Contains(text, "\n") {
					t.Errorf("%q does not say where, or shows a token", text)
				}
			})
		}
	})
}
