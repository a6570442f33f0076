//go:build !plugin

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// A reconciler releases the addresses of pods that are there no more, and the reservations without an allocation.
//
// It stands for upstream's ReconcileIPs, which takes addresses from the living: an allocation, when a pod needs a second
// longer to start than its first interface took; all of them, when the annotation is missing or old; and every reservation
// of a network with a name, since it compares reservations with pods by names that it takes for the address alone.
type reconciler struct {
	api clients
	now func() time.Time
	log *slog.Logger

	oneAtATime sync.Mutex
	// seen is not stored anywhere: after a restart everything has to be seen anew.
	seen sightings
}

// A report is what one run found and did.
type report struct {
	began time.Time
	took  time.Duration
	// pools is nil when the lists could not be read.
	pools []poolReport
	// orphans are allocations that no pod has, losses the addresses of pods that no pool holds.
	orphans, losses int
	// released and dropped are the allocations and reservations that were removed, discarded the pools of lost nodes.
	released, dropped, discarded int
}

func newReconciler(api clients, now func() time.Time) *reconciler {
	return &reconciler{api: api, now: now, log: slog.Default()}
}

// run looks once at everything and releases what is certainly nobody's. An error of one part does not keep the others from
// being looked at.
func (r *reconciler) run(ctx context.Context) (report, error) {
	r.oneAtATime.Lock()
	defer r.oneAtATime.Unlock()
	done := report{began: r.now()}
	err := r.reconcile(ctx, &done)
	done.took = r.now().Sub(done.began)
	r.log.Info("reconciled", "seconds", done.took.Seconds(), "pools", len(done.pools), "orphans", done.orphans,
		"released", done.released, "reservations_dropped", done.dropped, "pools_deleted", done.discarded, "losses", done.losses, "failed", err != nil)
	return done, err
}

func (r *reconciler) reconcile(ctx context.Context, done *report) error {
	taken, err := takeSnapshot(ctx, r.api)
	if taken == nil {
		return err
	}
	look := &watch{before: r.seen, now: sightings{}, began: done.began, listed: r.now()}
	found := judgePools(taken, look)
	r.warn(taken, found)
	freed, releaseErr := r.release(ctx, taken, found)
	relabelErr := r.relabel(ctx, taken, found, look)
	stale := judgeReservations(taken, found.without(freed), look)
	dropped, dropErr := r.drop(ctx, taken, stale)
	discarded, discardErr := r.discard(ctx, taken.abandoned())
	r.seen = look.now
	done.pools, done.orphans, done.dropped, done.discarded = found.after(freed, discarded), len(found.orphans), dropped, len(discarded)
	for _, each := range freed {
		if each == releasedByUs {
			done.released++
		}
	}
	for _, each := range done.pools {
		done.losses += each.losses
	}
	return errors.Join(err, releaseErr, relabelErr, dropErr, discardErr)
}

// without returns the claims that are still there.
func (j judgement) without(freed map[int]outcome) []claim {
	var held []claim
	for i, each := range j.claims {
		if _, is := freed[i]; !is {
			held = append(held, each)
		}
	}
	return held
}

// after returns the reports of the pools that are left, with what is left of their allocations.
func (j judgement) after(freed map[int]outcome, discarded map[string]bool) []poolReport {
	byName := make(map[string]*poolReport, len(j.pools))
	for i := range j.pools {
		byName[j.pools[i].namespace+"/"+j.pools[i].name] = &j.pools[i]
	}
	for i := range freed {
		byName[j.claims[i].pool].allocated--
	}
	for i, each := range j.pools {
		if !each.leads {
			j.pools[j.leaders[i]].elsewhere += each.allocated
		}
	}
	return slices.DeleteFunc(j.pools, func(each poolReport) bool { return discarded[each.namespace+"/"+each.name] })
}

// warn says what no run will put right by itself.
func (r *reconciler) warn(taken *snapshot, found judgement) {
	for i, within := range rangesOf(taken.pools) {
		if !within.IsValid() {
			r.log.Warn("a pool's range cannot be read: only addresses of pods that are gone are released",
				"pool", poolName(&taken.pools[i]), "range", taken.pools[i].Spec.Range)
		}
	}
	for _, each := range found.claims {
		if each.PodRef == "" {
			r.log.Warn("an address is allocated to no pod", "pool", each.pool, "address", fmt.Sprint(each.address))
		}
	}
	for _, each := range found.pools {
		if each.losses > 0 {
			r.log.Warn("pods have addresses of a pool that does not hold them: they may be allocated again",
				"pool", each.namespace+"/"+each.name, "addresses", each.losses)
		}
	}
}
