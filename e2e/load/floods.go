package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	floodAlerts  = 10_000
	floodPayload = 100
	atOnce       = 10
	singleAlerts = 20_000

	budgetFlood     = time.Second
	budgetFloodMiB  = 64
	budgetAgain     = 500 * time.Millisecond
	budgetSingles   = 2000 // a second
	budgetP99       = 10 * time.Millisecond
	budgetIdleMiB   = 25
	budgetIdleShare = 0.001 // of a core
)

// alert is one as Prometheus's rules make it, with a number that tells it from every other.
func alert(n int, startsAt time.Time) map[string]any {
	id := strconv.Itoa(n)
	return map[string]any{
		"status": "firing",
		"labels": map[string]string{
			"alertname": "GhostrunnerRunnerUnhealthy", "remediation": "restart", "severity": "warning", "layer": "runner",
			"runner": "load-" + id, "container": "load-runner-" + id, "host": "laptop", "job": "ghostrunner-exporter",
			"instance": "exporter:10068", "role": "runner",
		},
		"annotations": map[string]string{
			"summary":     "A runner's container is unhealthy.",
			"description": "Docker's health check of container load-runner-" + id + " (runner load-" + id + ") has failed three times in a row.",
			"runbook_url": "https://github.com/blueguy23/ghostrunner/blob/main/INCIDENTS.md#ghostrunnerrunnerunhealthy",
		},
		"startsAt": startsAt.UTC(), "endsAt": time.Time{},
		"generatorURL": "http://prometheus:9090/graph?g0.expr=ghostrunner_container_healthy+%3D%3D+0&g0.tab=1",
		"fingerprint":  fmt.Sprintf("%016x", n),
	}
}

func payload(alerts ...map[string]any) []byte {
	b, err := json.Marshal(map[string]any{
		"version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": "firing", "receiver": "remediator",
		"groupLabels": map[string]string{}, "commonLabels": map[string]string{}, "commonAnnotations": map[string]string{},
		"externalURL": "http://alertmanager:9093", "alerts": alerts,
	})
	if err != nil {
		panic(err) // maps of strings
	}
	return b
}

// post sends a payload and returns how long its answer took.
func (p *program) post(ctx context.Context, body []byte) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/webhook", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	req.Header.Set("Content-Type", "application/json")
	began := time.Now()
	resp, err := p.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusAccepted {
		return 0, fmt.Errorf("answered %s: %s", resp.Status, said)
	}
	return took, nil
}

// volley posts all bodies, ten at once, and returns how long each answer took, and all of them together.
func (p *program) volley(ctx context.Context, bodies [][]byte) (each []time.Duration, all time.Duration, err error) {
	each = make([]time.Duration, len(bodies))
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
				each[i], errs[w] = p.post(ctx, bodies[i])
			}
		})
	}
	wg.Wait()
	return each, time.Since(began), errors.Join(errs...)
}

// queue is how many alerts wait for a decision.
func (p *program) queue(ctx context.Context) (int, error) {
	_, body, err := p.get(ctx, "/api/v1/status")
	if err != nil {
		return 0, err
	}
	var status struct{ Queue int }
	return status.Queue, json.Unmarshal(body, &status)
}

var begunLine = regexp.MustCompile(`(?m)^ghostrunner_remediator_reaction_seconds_count\S* (\d+)$`)

// acted is how many actions were begun.
func (p *program) acted(ctx context.Context) (int, error) {
	_, body, err := p.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	lines := begunLine.FindAllSubmatch(body, -1)
	if len(lines) == 0 {
		return 0, errors.New("no reaction_seconds_count in /metrics")
	}
	begun := 0
	for _, l := range lines {
		n, err := strconv.Atoi(string(l[1]))
		if err != nil {
			return 0, err
		}
		begun += n
	}
	return begun, nil
}

// flood is ten thousand alerts in payloads of a hundred, and the same again: once while all of them still wait, because Docker
// does not answer, and once when all of them have been decided.
func flood(ctx context.Context, bin, work string) (figures []figure, err error) {
	began := time.Now()
	bodies := make([][]byte, 0, floodAlerts/floodPayload)
	for n := 0; n < floodAlerts; n += floodPayload {
		var alerts []map[string]any
		for i := range floodPayload {
			alerts = append(alerts, alert(n+i, began))
		}
		bodies = append(bodies, payload(alerts...))
	}
	host, closeDocker, err := deafDocker(work)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeDocker()) }()
	for _, world := range []struct {
		name, again string
		flags       []string
		decided     bool
	}{
		{"Docker answers", "again, decided", nil, true},
		{"Docker hangs", "again, waiting", []string{"--docker.host=" + host}, false},
	} {
		p, err := start(ctx, bin, work, world.flags...)
		if err != nil {
			return nil, err
		}
		for _, round := range []struct {
			name   string
			budget time.Duration
		}{{"10,000 alerts, 100 a payload; " + world.name, budgetFlood}, {world.again, budgetAgain}} {
			before, err := p.cpu()
			if err != nil {
				return nil, err
			}
			_, took, err := p.volley(ctx, bodies)
			if err != nil {
				return nil, err
			}
			after, err := p.cpu()
			if err != nil {
				return nil, err
			}
			figures = append(figures, figure{
				name: round.name, budget: round.budget.String(), measured: took.Round(time.Millisecond).String(),
				cpu: after - before, broken: took > round.budget,
			})
			if !world.decided {
				continue
			}
			if err := p.await(ctx, "every alert to be decided", func() (bool, error) {
				n, err := p.queue(ctx)
				return n == 0, err
			}); err != nil {
				return nil, err
			}
		}
		begun, err := p.acted(ctx)
		if err != nil {
			return nil, err
		}
		most, err := p.memory("VmHWM")
		if err != nil {
			return nil, err
		}
		figures = append(figures,
			figure{name: "  actions begun", budget: "0", measured: strconv.Itoa(begun), broken: begun > 0},
			figure{name: "  most memory resident", budget: fmt.Sprintf("%d MiB", budgetFloodMiB), measured: fmt.Sprintf("%.1f MiB", most), broken: most > budgetFloodMiB})
		if err := p.stop(); err != nil {
			return nil, err
		}
	}
	return figures, nil
}

// singles is one alert a webhook, ten webhooks at once, while Docker hangs.
func singles(ctx context.Context, bin, work string) (figures []figure, err error) {
	host, closeDocker, err := deafDocker(work)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeDocker()) }()
	p, err := start(ctx, bin, work, "--docker.host="+host)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	bodies := make([][]byte, singleAlerts)
	for n := range bodies {
		bodies[n] = payload(alert(n, began))
	}
	before, err := p.cpu()
	if err != nil {
		return nil, err
	}
	each, all, err := p.volley(ctx, bodies)
	if err != nil {
		return nil, err
	}
	after, err := p.cpu()
	if err != nil {
		return nil, err
	}
	rate, p99 := float64(len(bodies))/all.Seconds(), quantile(each, 0.99)
	return []figure{
		{name: "single alerts, ten at once, Docker hangs", budget: fmt.Sprintf("%d/s", budgetSingles), measured: fmt.Sprintf("%.0f/s", rate),
			cpu: after - before, broken: rate < budgetSingles},
		{name: "  answered within, 99 of 100", budget: budgetP99.String(), measured: p99.Round(10 * time.Microsecond).String(), broken: p99 > budgetP99},
	}, p.stop()
}

// rest is the program with nothing to do but its heartbeat and a scrape now and then.
func rest(ctx context.Context, bin, work string, stretch time.Duration) ([]figure, error) {
	if stretch <= 0 {
		return nil, nil
	}
	p, err := start(ctx, bin, work)
	if err != nil {
		return nil, err
	}
	heartbeat := alert(0, time.Now())
	heartbeat["labels"] = map[string]string{"alertname": "GhostrunnerWatchdog"}
	before, err := p.cpu()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	scrape, beat := time.NewTicker(15*time.Second), time.NewTicker(time.Minute)
	defer scrape.Stop()
	defer beat.Stop()
	for over := time.After(stretch); ; {
		var err error
		select {
		case <-scrape.C:
			_, _, err = p.get(ctx, "/metrics")
		case <-beat.C:
			_, err = p.post(ctx, payload(heartbeat))
		case <-ctx.Done():
			err = ctx.Err()
		case <-over:
			after, err := p.cpu()
			if err != nil {
				return nil, err
			}
			share := (after - before).Seconds() / time.Since(began).Seconds()
			resident, err := p.memory("VmRSS")
			if err != nil {
				return nil, err
			}
			return []figure{
				{name: fmt.Sprintf("idle for %s, scraped each 15 s", stretch), budget: fmt.Sprintf("%.1f %% of a core", 100*budgetIdleShare),
					measured: fmt.Sprintf("%.3f %%", 100*share), cpu: after - before, broken: share > budgetIdleShare},
				{name: "  memory resident", budget: fmt.Sprintf("%d MiB", budgetIdleMiB), measured: fmt.Sprintf("%.1f MiB", resident), broken: resident > budgetIdleMiB},
			}, p.stop()
		}
		if err != nil {
			return nil, errors.Join(err, p.stop())
		}
	}
}
