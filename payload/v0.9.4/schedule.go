//go:build !plugin

package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/go-co-op/gocron/v2"
	"github.com/robfig/cron/v3"
	"k8s.io/client-go/rest"

	upstream "github.com/k8snetworkplumbingwg/whereabouts/pkg/reconciler"
)

const (
	scheduleFile = "/cron-schedule/config"
	// scheduleLink is what the kubelet replaces when a mounted ConfigMap changes.
	scheduleLink = "/cron-schedule/..data"
	// runLimit ends a run that hangs, so that there will be others.
	runLimit = 10 * time.Minute
	// Requests in a second, and at once. By default they are 5 and 10, so that 1,000 reservations take minutes.
	reconcilerQPS, reconcilerBurst = 100, 200
)

// reconcile gives back, on a schedule, the addresses of pods that are there no more.
func reconcile(ctx context.Context, flags *flag.FlagSet, arguments []string) error {
	metricsAddress := flags.String("metrics-address", "", "address of the Prometheus metrics, such as :9100; empty: no metrics")
	done, end, err := parseLogged(flags, arguments)
	if done || err != nil {
		return err
	}
	defer end()
	api, err := connect(func(config *rest.Config) { config.QPS, config.Burst = reconcilerQPS, reconcilerBurst })
	if err != nil {
		return err
	}
	observed := newMetrics()
	if *metricsAddress != "" {
		if err := observed.serve(ctx, *metricsAddress); err != nil {
			return err
		}
	}
	worker := newReconciler(api, time.Now)
	return onSchedule(ctx, func() {
		ctx, cancel := context.WithTimeout(ctx, runLimit)
		defer cancel()
		report, err := worker.run(ctx)
		if err != nil {
			slog.Error("reconciling: " + err.Error())
		}
		observed.observe(report, err)
	})
}

// onSchedule does a task whenever the schedule says so, one at a time, until ctx is done.
func onSchedule(ctx context.Context, task func()) error {
	// A run that is due while another one goes on is left out.
	scheduler, err := newScheduler()
	if err != nil {
		return fmt.Errorf("creating the scheduler: %w", err)
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching the schedule: %w", err)
	}
	defer watcher.Close()
	schedule, err := upstream.NewConfigWatcher(scheduleFile, scheduler, watcher, task)
	if err != nil {
		return fmt.Errorf("reading the schedule in %s: %w", scheduleFile, err)
	}
	scheduler.Start()
	schedule.SyncConfiguration(func(event fsnotify.Event) bool {
		return event.Name == scheduleLink && event.Has(fsnotify.Create) && usable(scheduleFile)
	})
	<-ctx.Done()
	return scheduler.Shutdown()
}

func newScheduler() (gocron.Scheduler, error) {
	return gocron.NewScheduler(
		gocron.WithLocation(time.UTC),
		gocron.WithGlobalJobOptions(gocron.WithSingletonMode(gocron.LimitModeReschedule)),
	)
}

// usable tells whether a file has a schedule. With one that is wrong upstream's watcher would panic.
func usable(file string) bool {
	text, err := os.ReadFile(file)
	if err == nil {
		_, err = cron.ParseStandard(strings.TrimSpace(string(text)))
	}
	if err != nil {
		slog.Error("the former schedule is kept: " + err.Error())
	}
	return err == nil
}
