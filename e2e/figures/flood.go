package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	floodRate = 200_000_000 // bytes a minute
	// look is the time between two looks at the other runner: its lines are seen that much late by the measurement itself.
	look = 50 * time.Millisecond
	// calm is how long is looked before the flood.
	calm = 10 * time.Second
)

// talkers are runner containers on this machine's Docker, made of one static program.
type talkers struct {
	label, image string
}

// command runs the docker command and returns what it printed.
func command(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return strings.TrimSpace(string(out)), nil
}

func (b *bench) talkers(ctx context.Context) (*talkers, error) {
	t := &talkers{label: fmt.Sprintf("ghostrunner.figures=%d", time.Now().UnixNano())}
	program := filepath.Join(b.dir, "talker")
	if err := build(ctx, program, "./cmd/exporter/testdata/talker"); err != nil {
		return nil, err
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err = w.WriteHeader(&tar.Header{Name: "talker", Mode: 0o755, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	t.image, err = command(ctx, &layer, "import", "--change", `ENTRYPOINT ["/talker"]`, "--change", "LABEL "+t.label, "-")
	return t, err
}

// start runs one, with a log that is rotated, and returns the id of its container.
func (t *talkers) start(ctx context.Context, slot string, mode ...string) (string, error) {
	return command(ctx, nil, append([]string{
		"run", "--detach", "--network=none", "--label=" + t.label, "--label=ghostrunner.role=runner", "--label=ghostrunner.runner=" + slot,
		"--log-driver=json-file", "--log-opt=max-size=20m", "--log-opt=max-file=3", t.image,
	}, mode...)...)
}

// remove removes all, also after an interrupt, which has ended ctx.
func (t *talkers) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	var errs []error
	for _, kind := range [][2]string{{"ps", "rm"}, {"images", "rmi"}} {
		ids, err := command(ctx, nil, kind[0], "--all", "--quiet", "--filter", "label="+t.label)
		if err == nil && ids != "" {
			_, err = command(ctx, nil, append([]string{kind[1], "--force"}, strings.Fields(ids)...)...)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// flooded measures what a job that prints without measure does to an exporter, and to what it sees of another runner.
func (b *bench) flooded(ctx context.Context) (all []figure, err error) {
	t, err := b.talkers(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.remove(ctx)) }()
	hub, stopHub, err := serve("tcp", "127.0.0.1:0", gitHub(2))
	if err != nil {
		return nil, err
	}
	defer stopHub()
	e, err := b.start(ctx, os.Getenv("DOCKER_HOST"), "http://"+hub, "--docker.label="+t.label)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.stop()) }()
	other, err := t.start(ctx, "ci-other", "beat", "200ms")
	if err != nil {
		return nil, err
	}
	const jobs = `ghostrunner_runner_jobs_started_total{runner="ci-other"}`
	err = until(ctx, "the other runner", look, func() (bool, error) {
		p, err := e.read(ctx, "?collect[]=listener")
		n, _ := p.value(jobs)
		return n > 0, err
	})
	if err != nil {
		return nil, err
	}
	seen := map[int]time.Time{} // when each job of the other runner was first told of
	watch := func(whole time.Duration) (cpu float64, from, to int, err error) {
		before, err := e.cpu()
		if err != nil {
			return 0, 0, 0, err
		}
		begun := time.Now()
		err = every(ctx, look, whole, func() error {
			p, err := e.read(ctx, "?collect[]=listener")
			n, _ := p.value(jobs)
			if to = int(n); from == 0 {
				from = to + 1 // that one may have been there for a while
			} else if seen[to].IsZero() {
				seen[to] = time.Now()
			}
			return err
		})
		after, err2 := e.cpu()
		return (after - before).Seconds() / time.Since(begun).Seconds(), from, to, errors.Join(err, err2)
	}
	calmCPU, calmFrom, calmTo, err := watch(calm)
	if err != nil {
		return nil, err
	}
	flood, err := t.start(ctx, "ci-flood", "flood", strconv.Itoa(floodRate), b.flood.String())
	if err != nil {
		return nil, err
	}
	floodCPU, floodFrom, floodTo, err := watch(b.flood)
	if err != nil {
		return nil, err
	}
	s, err := b.whileFlooded(ctx, t, e)
	if err != nil {
		return nil, err
	}
	if err := e.countedAll(ctx, "ci-flood", flood); err != nil {
		return nil, err
	}
	written, err := printed(ctx, other)
	if err != nil {
		return nil, err
	}
	late := func(from, to int) (worst time.Duration) {
		for n := from; n <= to; n++ {
			if at, ok := seen[n]; ok {
				worst = max(worst, at.Sub(written[n]))
			}
		}
		return worst
	}
	resident, err := e.memory("VmHWM")
	if err != nil {
		return nil, err
	}
	return []figure{
		{"flood: CPU that it adds to the exporter", "% of a core", 100 * (floodCPU - calmCPU), 5},
		{"flood: a line of another runner, longest until told", "ms", millis(late(floodFrom, floodTo)), 1000},
		{"without it: the same", "ms", millis(late(calmFrom, calmTo)), 0},
		{"flood: scrape, p99", "ms", millis(s.quantile(0.99)), 0},
		{"flood: resident memory, the most ever", "MiB", resident, 30},
	}, nil
}

// whileFlooded times scrapes during another flood.
func (b *bench) whileFlooded(ctx context.Context, t *talkers, e *exporter) (*scraped, error) {
	id, err := t.start(ctx, "ci-flood-2", "flood", strconv.Itoa(floodRate), "10s")
	if err != nil {
		return nil, err
	}
	s := &scraped{}
	err = every(ctx, look, 10*time.Second, func() error {
		_, took, err := e.scrape(ctx)
		s.took = append(s.took, took)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(s.took)
	return s, e.countedAll(ctx, "ci-flood-2", id)
}

// countedAll waits for the end of a flood, and compares what its program says that it printed with what was counted.
func (e *exporter) countedAll(ctx context.Context, slot, id string) error {
	var want float64
	err := until(ctx, "the end of the flood", time.Second, func() (bool, error) {
		last, err := command(ctx, nil, "logs", "--tail=1", id)
		n, _ := fmt.Sscanf(last, "printed %g lines", &want)
		return n == 1, err
	})
	if err != nil {
		return err
	}
	var got float64
	err = until(ctx, "the last of the lines", look, func() (bool, error) {
		p, err := e.read(ctx, "?collect[]=listener")
		got, _ = p.value(`ghostrunner_runner_log_lines_total{runner="` + slot + `"}`)
		return got >= want, err
	})
	if err != nil || got != want {
		return fmt.Errorf("%v lines were printed and %v counted: %w", want, got, err)
	}
	return nil
}

// printed returns when the engine read the n-th job of a runner.
func printed(ctx context.Context, id string) (map[int]time.Time, error) {
	log, err := command(ctx, nil, "logs", "--timestamps", id)
	if err != nil {
		return nil, err
	}
	out := map[int]time.Time{}
	for line := range strings.Lines(log) {
		stamp, text, _ := strings.Cut(line, " ")
		if strings.Contains(text, ": Running job: ") {
			if out[len(out)+1], err = time.Parse(time.RFC3339Nano, stamp); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
