package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/measure"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

const (
	floodAlerts  = 10_000
	floodPayload = 100
	atOnce       = 10
	singleAlerts = 20_000
)

// webhook measures the remediator's webhook, over TCP and with the journal on this disk. The alerts
// name containers that do not exist, so no container on this machine is touched.
func (b *bench) webhook(ctx context.Context) (all []measure.Figure, err error) {
	silent, closeDocker, err := b.silentDocker()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeDocker()) }()
	fmt.Fprintf(b.out, "  · %d alerts, %d a payload, and the same again; while Docker answers, and while it hangs\n", floodAlerts, floodPayload)
	answers, err := b.burst(ctx, "Docker answers", true)
	if err != nil {
		return nil, err
	}
	hangs, err := b.burst(ctx, "Docker hangs", false, "--docker.host="+silent)
	if err != nil {
		return answers, err
	}
	fmt.Fprintf(b.out, "  · %d single alerts, ten at once, while it hangs\n", singleAlerts)
	single, err := b.singles(ctx, "--docker.host="+silent)
	if err != nil {
		return append(answers, hangs...), err
	}
	disk, err := syncTime(b.dir)
	return append(slices.Concat(answers, hangs, single),
		measure.Figure{Part: "webhook", Name: "fdatasync of 8 KiB on this disk, p50", Value: disk, Unit: measure.Seconds}), err
}

// burst is ten thousand alerts in payloads of a hundred, and then the same again, after all were
// decided if decided is set.
func (b *bench) burst(ctx context.Context, world string, decided bool, flags ...string) (all []measure.Figure, err error) {
	r, err := b.readyRemediator(ctx, flags...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Stop()) }()
	figure := func(name string, value float64, unit string, budget *measure.Budget) {
		all = append(all, measure.Figure{Part: "webhook", Name: world + ": " + name, Value: value, Unit: unit, Budget: budget})
	}
	began := time.Now()
	bodies := make([][]byte, 0, floodAlerts/floodPayload)
	for n := 0; n < floodAlerts; n += floodPayload {
		var alerts []map[string]string
		for i := range floodPayload {
			alerts = append(alerts, alert(n+i))
		}
		bodies = append(bodies, stack.Payload(began, alerts...))
	}
	for _, round := range []struct {
		name   string
		budget float64
	}{{"10,000 alerts, 100 a payload", 1}, {"the same again", 0.5}} {
		var took time.Duration
		cpu, err := r.CPUOf(func() (err error) {
			_, took, err = r.volley(ctx, bodies)
			return err
		})
		if err != nil {
			return nil, err
		}
		figure(round.name, took.Seconds(), measure.Seconds, measure.AtMost(round.budget))
		figure(round.name+", CPU", cpu.Seconds(), measure.CPUSeconds, nil)
		if !decided {
			continue
		}
		if err := measure.Until(ctx, "every alert to be decided", 20*time.Millisecond, func() (bool, error) {
			n, err := r.queue(ctx)
			return n == 0, err
		}); err != nil {
			return nil, err
		}
	}
	begun, err := r.acted(ctx)
	if err != nil {
		return nil, err
	}
	most, err := measure.Memory(r.PID, "VmHWM")
	figure("actions begun", begun, measure.Count, measure.AtMost(0))
	figure("memory resident, the most ever", most, measure.Bytes, measure.AtMost(64<<20))
	return all, err
}

// singles is one alert per webhook, ten webhooks at once.
func (b *bench) singles(ctx context.Context, flags ...string) (all []measure.Figure, err error) {
	r, err := b.readyRemediator(ctx, flags...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Stop()) }()
	began := time.Now()
	bodies := make([][]byte, singleAlerts)
	for n := range bodies {
		bodies[n] = stack.Payload(began, alert(n))
	}
	var each []float64
	var took time.Duration
	cpu, err := r.CPUOf(func() (err error) {
		each, took, err = r.volley(ctx, bodies)
		return err
	})
	return []measure.Figure{
		{Part: "webhook", Name: "single alerts", Value: float64(len(bodies)) / took.Seconds(), Unit: measure.PerSecond, Budget: measure.AtLeast(2000)},
		{Part: "webhook", Name: "single alerts, p99", Value: measure.Quantile(each, 0.99), Unit: measure.Seconds, Budget: measure.AtMost(0.010)},
		{Part: "webhook", Name: "single alerts, CPU of one", Value: cpu.Seconds() / float64(len(bodies)), Unit: measure.CPUSeconds},
	}, err
}

// volley posts all bodies, ten at once, and returns the time of each in seconds and of all.
func (r remediator) volley(ctx context.Context, bodies [][]byte) (each []float64, all time.Duration, err error) {
	each = make([]float64, len(bodies))
	errs := make([]error, atOnce)
	var next atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for w := range atOnce {
		wg.Go(func() {
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= len(bodies) {
					return
				}
				var took time.Duration
				took, errs[w] = r.post(ctx, bodies[i])
				each[i] = took.Seconds()
			}
		})
	}
	wg.Wait()
	return each, time.Since(began), errors.Join(errs...)
}

// alert is that of container n.
func alert(n int) map[string]string {
	return stack.UnhealthyAlert("load-runner-"+strconv.Itoa(n), "load-"+strconv.Itoa(n))
}

// syncTime is the median time, in seconds, to make two pages durable on this disk.
func syncTime(dir string) (float64, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	took := make([]float64, 200)
	page := make([]byte, 8<<10)
	for i := range took {
		if _, err := f.WriteAt(page, int64(i)*int64(len(page))); err != nil {
			return 0, err
		}
		began := time.Now()
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		took[i] = time.Since(began).Seconds()
	}
	return measure.Quantile(took, 0.5), nil
}
