package main

import (
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// An event is what happens next in a sequence. What it happens to follows from its seed and from how the world is, so
// that a sequence without some of its events is one as well.
type event struct {
	kind string
	seed uint64
}

// modelEvents are what can happen, with how often it does.
var modelEvents = []struct {
	kind   string
	weight int
	happen func(*world, *rand.Rand)
}{
	{"requests are answered", 10, func(w *world, r *rand.Rand) { w.answers(r, 1+r.IntN(12)) }},
	{"a pod is made", 8, (*world).eventPod},
	{"a sandbox is tried again", 5, (*world).eventRetry},
	{"an annotation is written", 8, (*world).eventAnnounce},
	{"a sandbox is made anew", 3, (*world).eventAnew},
	{"an interface is added", 4, (*world).eventPlug},
	{"an interface is removed", 2, (*world).eventUnplug},
	{"a pod is deleted", 3, (*world).eventDelete},
	{"a deleted pod is stopped", 5, (*world).eventStop},
	{"a pod finishes", 2, (*world).eventFinish},
	{"a late DEL", 3, (*world).eventLate},
	{"time passes", 8, func(w *world, r *rand.Rand) { w.pass(time.Duration(5+r.IntN(90)) * time.Second) }},
	{"the reconciler runs", 10, func(w *world, r *rand.Rand) { w.reconcile() }},
	{"the reconciler starts anew", 1, (*world).eventRestart},
	{"the control loop sees a pod that was deleted", 3, (*world).eventCollect},
	{"a node's taint", 1, (*world).eventTaint},
	{"a node is lost", 2, (*world).eventLost},
	{"a node is back", 3, (*world).eventBack},
	{"a node's way of allocation changes", 1, (*world).eventChange},
	{"a call runs out of time", 1, (*world).eventTimeout},
	{"a call is killed", 1, (*world).eventKill},
}

func newEvents(r *rand.Rand, count int) []event {
	total := 0
	for _, each := range modelEvents {
		total += each.weight
	}
	made := make([]event, count)
	for i := range made {
		at := r.IntN(total)
		for _, each := range modelEvents {
			if at -= each.weight; at < 0 {
				made[i] = event{each.kind, r.Uint64()}
				break
			}
		}
	}
	return made
}

func (w *world) happen(each event) {
	r := rand.New(rand.NewPCG(each.seed, 0))
	w.log("%s", each.kind)
	for _, known := range modelEvents {
		if known.kind == each.kind {
			known.happen(w, r)
		}
	}
	w.settle()
	w.check()
	// More often than not it comes to its end before the next one.
	if r.IntN(3) > 0 {
		w.answers(r, 40)
	} else {
		w.answers(r, r.IntN(8))
	}
}

func (w *world) answers(r *rand.Rand, count int) {
	for range count {
		if w.problem != "" || !w.answer(r) {
			return
		}
	}
}

// one picks a pod that something can happen to.
func (w *world) one(r *rand.Rand, fit func(*modelPod) bool) *modelPod {
	var found []*modelPod
	for _, each := range w.pods {
		if !each.busy && !each.node.down && fit(each) {
			found = append(found, each)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found[r.IntN(len(found))]
}

func inUse(p *modelPod) bool { return p.up && p.phase == corev1.PodRunning && p.expires.IsZero() }

func (w *world) eventPod(r *rand.Rand) {
	node := w.nodes[r.IntN(len(w.nodes))]
	names := slices.DeleteFunc([]string{"a", "b", "c"}, func(name string) bool {
		return slices.ContainsFunc(w.pods, func(each *modelPod) bool { return each.name == name })
	})
	if len(names) == 0 || node.down {
		return
	}
	made := &modelPod{name: names[r.IntN(len(names))], uid: w.next("pod"), node: node, phase: corev1.PodPending}
	for n, i := range r.Perm(len(w.nets))[:1+r.IntN(2)] {
		made.wants = append(made.wants, want{[]string{"net1", "net2"}[n], w.nets[i]})
	}
	w.pods = append(w.pods, made)
	w.putPod(made)
	w.log("  %s on %s", made.name, node.name)
	w.setUp(made, w.broken(r), r.IntN(4) > 0)
}

// broken is after how many interfaces another plugin fails: mostly after none.
func (w *world) broken(r *rand.Rand) int {
	if r.IntN(6) > 0 {
		return -1
	}
	return 1
}

func (w *world) eventChange(r *rand.Rand) {
	node := w.nodes[r.IntN(len(w.nodes))]
	node.perNode = !node.perNode
	w.log("  of %s, per node: %t", node.name, node.perNode)
}

func (w *world) eventRetry(r *rand.Rand) {
	p := w.one(r, func(p *modelPod) bool { return !p.up && p.expires.IsZero() && !p.finished() })
	if p == nil {
		return
	}
	w.log("  of %s", p.name)
	w.setUp(p, w.broken(r), r.IntN(4) > 0)
}

func (p *modelPod) finished() bool {
	return p.phase == corev1.PodSucceeded || p.phase == corev1.PodFailed
}

func (w *world) eventAnnounce(r *rand.Rand) {
	p := w.one(r, func(p *modelPod) bool { return p.up })
	switch {
	case p == nil:
	case r.IntN(4) > 0:
		w.announce(p)
	default:
		// It runs, and its annotation is still to come.
		p.phase, p.notReady = corev1.PodRunning, false
		w.putPod(p)
	}
}

func (w *world) eventAnew(r *rand.Rand) {
	p := w.one(r, inUse)
	if p == nil {
		return
	}
	p.notReady = r.IntN(3) == 0
	w.putPod(p)
	before := p.interfaces
	p.dies()
	if r.IntN(2) == 0 {
		w.late = append(w.late, before...)
	}
	p.busy = true
	stopped, broken, tidy := r.IntN(3), w.broken(r), r.IntN(4) > 0
	w.log("  of %s", p.name)
	stop := func() {
		for _, each := range before {
			w.del(each)
		}
	}
	if stopped == 0 {
		w.act(stop)
	}
	w.act(func() {
		if stopped == 1 {
			stop()
		}
		w.setUp(p, broken, tidy)
	})
}

func (w *world) eventPlug(r *rand.Rand) {
	p := w.one(r, inUse)
	if p == nil {
		return
	}
	i := &modelInterface{want: want{w.next("net1"), w.nets[r.IntN(len(w.nets))]}, pod: p, container: p.container}
	// The same interface again, after a DEL that may have failed: its entry may be an orphan that is being released.
	for _, each := range w.all {
		free := !slices.ContainsFunc(p.interfaces, func(held *modelInterface) bool { return held.ifName == each.ifName })
		if each.container == p.container && each.pod == p && !each.live && free && r.IntN(2) == 0 {
			i.want = each.want
			break
		}
	}
	tidy, broken := r.IntN(4) > 0, r.IntN(8) == 0
	p.busy = true
	w.log("  %s", i)
	w.act(func() {
		defer func() { p.busy = false }()
		if w.add(i) && !broken {
			p.interfaces = append(p.interfaces, i)
			return
		}
		if i.live = false; tidy {
			w.del(i)
		}
	})
}

func (w *world) eventUnplug(r *rand.Rand) {
	p := w.one(r, func(p *modelPod) bool { return inUse(p) && len(p.interfaces) > len(p.wants) })
	if p == nil {
		return
	}
	last := len(p.interfaces) - 1
	i := p.interfaces[last]
	p.interfaces = slices.Clone(p.interfaces[:last])
	announced, called := r.IntN(3) > 0, r.IntN(4) > 0
	i.live, p.busy = false, true
	w.log("  %s", i)
	w.act(func() {
		defer func() { p.busy = false }()
		if called {
			w.del(i)
		}
		if announced && p.up {
			w.announce(p)
		}
	})
}

func (w *world) eventDelete(r *rand.Rand) {
	if p := w.one(r, func(p *modelPod) bool { return p.expires.IsZero() }); p != nil {
		p.expires = w.now.Add(graceOfModel)
		w.putPod(p)
		w.log("  %s", p.name)
	}
}

func (w *world) eventStop(r *rand.Rand) {
	if p := w.one(r, func(p *modelPod) bool { return !p.expires.IsZero() }); p != nil {
		w.stop(p, r)
	}
}

// stop ends a deleted pod and removes it. Some DELs come later, when there may be another pod of its name.
func (w *world) stop(p *modelPod, r *rand.Rand) {
	p.dies()
	p.busy = true
	called := r.IntN(3)
	w.log("  %s", p.name)
	w.act(func() {
		defer func() { p.busy = false }()
		if called > 0 {
			w.tearDown(p, called == 1)
		}
		w.remove(p)
	})
}

func (w *world) eventFinish(r *rand.Rand) {
	p := w.one(r, inUse)
	if p == nil {
		return
	}
	p.dies()
	p.phase = corev1.PodSucceeded
	w.putPod(p)
	p.busy = true
	tidy := r.IntN(2) == 0
	w.act(func() {
		defer func() { p.busy = false }()
		w.tearDown(p, tidy)
	})
}

func (w *world) eventLate(r *rand.Rand) {
	if len(w.late) == 0 {
		return
	}
	at := r.IntN(len(w.late))
	i := w.late[at]
	w.late = slices.Delete(slices.Clone(w.late), at, at+1)
	w.act(func() { w.del(i) })
}

func (w *world) eventRestart(*rand.Rand) {
	if w.run != nil {
		w.kill(w.run)
	}
	w.restart()
}

func (w *world) eventCollect(r *rand.Rand) {
	if len(w.leaving) == 0 {
		return
	}
	at := r.IntN(len(w.leaving))
	gone := w.leaving[at]
	w.leaving = slices.Delete(slices.Clone(w.leaving), at, at+1)
	if r.IntN(2) == 0 {
		gone.pools = w.pools()
	}
	w.collect(gone)
}

// eventTaint evicts the pods of a node that answers: they run on until they are stopped.
func (w *world) eventTaint(r *rand.Rand) {
	node := w.nodes[r.IntN(len(w.nodes))]
	if node.down {
		return
	}
	w.putNode(node, corev1.ConditionTrue, "example.com/maintenance")
	w.evict(node)
	w.log("  %s has a taint", node.name)
}

func (w *world) evict(node *modelNode) {
	for _, p := range w.pods {
		if p.node == node && p.expires.IsZero() {
			p.expires = w.now.Add(graceOfModel)
			w.putPod(p)
		}
	}
}

// eventLost ends a node, or only its way to the API server.
func (w *world) eventLost(r *rand.Rand) {
	node := w.nodes[r.IntN(len(w.nodes))]
	if node.down {
		return
	}
	node.down = true
	for _, each := range slices.Clone(w.running) {
		if each.node == node.name {
			w.kill(each)
		}
	}
	w.settle()
	how := r.IntN(4)
	w.log("  %s: %s", node.name, []string{"unreachable and alive", "unreachable and dead", "out of service", "its object is gone"}[how])
	if how > 0 {
		node.dead = true
		for _, p := range w.pods {
			if p.node == node {
				p.dies()
			}
		}
	}
	switch how {
	case 0, 1:
		node.unreachable = true
		w.expire()
		w.putNode(node, corev1.ConditionUnknown, corev1.TaintNodeUnreachable)
	case 2:
		w.putNode(node, corev1.ConditionUnknown, corev1.TaintNodeUnreachable, corev1.TaintNodeOutOfService)
	case 3:
		must(w.server.Delete(corev1.SchemeGroupVersion.WithResource("nodes"), "", node.name, metav1.DeleteOptions{}))
	}
	if r.IntN(2) == 0 {
		w.evict(node)
	}
}

// eventBack brings a node back: what was deleted meanwhile is stopped, and what died is made anew.
func (w *world) eventBack(r *rand.Rand) {
	node := w.nodes[r.IntN(len(w.nodes))]
	if !node.down || slices.ContainsFunc(w.pods, func(p *modelPod) bool { return p.node == node && p.busy }) {
		return
	}
	w.back(node, r)
}

func (w *world) back(node *modelNode, r *rand.Rand) {
	*node = modelNode{name: node.name}
	w.putNode(node, corev1.ConditionTrue)
	w.log("  %s is back", node.name)
	for _, p := range slices.Clone(w.pods) {
		if p.node == node && !p.expires.IsZero() {
			w.stop(p, r)
		}
	}
}

func (w *world) process(r *rand.Rand) *process {
	if len(w.running) == 0 {
		return nil
	}
	return w.running[r.IntN(len(w.running))]
}

func (w *world) eventTimeout(r *rand.Rand) {
	if p := w.process(r); p != nil {
		w.log("  %s", p)
		p.cancel()
	}
}

func (w *world) eventKill(r *rand.Rand) {
	if p := w.process(r); p != nil {
		w.log("  %s", p)
		w.kill(p)
	}
}

// quiet ends a sequence: all nodes answer, no request fails, each pod has what it wants or is gone.
func (w *world) quiet(r *rand.Rand) {
	w.log("quiet")
	w.errors = 0
	w.finish(r)
	for _, node := range w.nodes {
		if node.down {
			w.back(node, r)
		}
		w.putNode(node, corev1.ConditionTrue)
	}
	w.finish(r)
	for len(w.late) > 0 && r.IntN(3) > 0 {
		w.eventLate(r)
	}
	for len(w.leaving) > 0 && r.IntN(3) > 0 {
		w.eventCollect(r)
	}
	w.finish(r)
	w.quietPods(r)
	for range 3 {
		w.now = w.now.Add(patience + time.Second)
		w.log("  it is %s", w.now.Format(time.TimeOnly))
		run := w.reconcile()
		if w.finish(r); w.problem != "" {
			return
		}
		if err := w.endOf(run); err != nil {
			w.fail("the reconciler failed: %v", err)
		}
	}
	if w.problem == "" {
		w.check()
		w.checkLeaks()
	}
}

func (w *world) quietPods(r *rand.Rand) {
	for _, p := range slices.Clone(w.pods) {
		if !p.up && p.expires.IsZero() && !p.finished() {
			w.setUp(p, -1, true)
		}
	}
	w.finish(r)
	for _, p := range slices.Clone(w.pods) {
		if p.up && p.expires.IsZero() {
			w.announce(p)
		} else {
			w.stop(p, r)
		}
	}
	w.finish(r)
}
