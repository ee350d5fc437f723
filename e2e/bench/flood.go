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
	"strconv"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/measure"
)

const (
	floodRate   = 200_000_000 // bytes a minute
	floodLength = 30 * time.Second
	// look is the time between two looks at the other runner: its lines are seen that much late by
	// the measurement itself.
	look = 50 * time.Millisecond
	// calm is how long is looked before the flood, and how long scrapes are timed in another one.
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
	program, err := b.program(ctx, "cmd/exporter/testdata/talker")
	if err != nil {
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
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

// flood measures what a job that prints without measure does to an exporter, and to what it sees of
// another runner. It is printed by a real container on this machine's Docker, whose log is rotated
// meanwhile.
func (b *bench) flood(ctx context.Context) (all []measure.Figure, err error) {
	t, err := b.talkers(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.remove(ctx)) }()
	hub, stopHub, err := serve("tcp", "127.0.0.1:0", gitHub(2))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stopHub()) }()
	e, err := b.exporter(ctx, os.Getenv("DOCKER_HOST"), "http://"+hub, "--docker.label="+t.label)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Stop()) }()
	other, err := t.start(ctx, "ci-other", "beat", "200ms")
	if err != nil {
		return nil, err
	}
	w := watcher{exporter: e, seen: map[int]time.Time{}}
	err = measure.Until(ctx, "the other runner", look, func() (bool, error) {
		n, err := w.jobs(ctx)
		return n > 0, err
	})
	if err != nil {
		return nil, err
	}
	before, err := w.watch(ctx, calm)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(b.out, "  · a flood of %s, and one of %s with scrapes\n", floodLength, calm)
	flood, err := t.start(ctx, "ci-flood", "flood", strconv.Itoa(floodRate), floodLength.String())
	if err != nil {
		return nil, err
	}
	during, err := w.watch(ctx, floodLength)
	if err != nil {
		return nil, err
	}
	took, err := whileFlooded(ctx, t, e)
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
	resident, err := measure.Memory(e.PID, "VmHWM")
	return []measure.Figure{
		// 10 % of a core: half of it is what the kernel takes to hand over 20,000 lines a second,
		// each of which the engine sends for itself.
		{Part: "flood", Name: "CPU that it adds", Value: during.cpu - before.cpu, Unit: measure.CPUPerMinute, Budget: measure.AtMost(6)},
		{Part: "flood", Name: "a line of another runner, longest until told", Value: w.late(during, written), Unit: measure.Seconds, Budget: measure.AtMost(1)},
		{Part: "flood", Name: "the same without it", Value: w.late(before, written), Unit: measure.Seconds},
		{Part: "flood", Name: "scrape, p99", Value: measure.Quantile(took, 0.99), Unit: measure.Seconds},
		{Part: "flood", Name: "memory resident, the most ever", Value: resident, Unit: measure.Bytes, Budget: measure.AtMost(30 << 20)},
	}, err
}

// watcher looks at the jobs of the other runner, each of which is a line in its log.
type watcher struct {
	exporter

	seen map[int]time.Time // when each job was first told of
}

// stretch is what was watched: the CPU time in seconds a minute, and the first and the last job.
type stretch struct {
	cpu         float64
	first, last int
}

// jobs is how many the exporter has told of.
func (w watcher) jobs(ctx context.Context) (int, error) {
	n, err := w.value(ctx, "?collect[]=listener", "ghostrunner_runner_jobs_started_total", map[string]string{"runner": "ci-other"})
	return int(n), err
}

func (w watcher) watch(ctx context.Context, whole time.Duration) (s stretch, err error) {
	cpu, err := w.CPUOf(func() error {
		return measure.Every(ctx, look, whole, func() (err error) {
			s.last, err = w.jobs(ctx)
			if s.first == 0 {
				s.first = s.last + 1 // that one may have been there for a while
			} else if w.seen[s.last].IsZero() {
				w.seen[s.last] = time.Now()
			}
			return err
		})
	})
	s.cpu = measure.PerMinute(cpu, whole)
	return s, err
}

// late is the longest time in seconds from the printing of a job's line until it was counted; not a
// number if none was.
func (w watcher) late(s stretch, printed map[int]time.Time) float64 {
	var all []float64
	for n := s.first; n <= s.last; n++ {
		if at, ok := w.seen[n]; ok {
			all = append(all, at.Sub(printed[n]).Seconds())
		}
	}
	return measure.Quantile(all, 1)
}

// whileFlooded times scrapes during another flood, in seconds.
func whileFlooded(ctx context.Context, t *talkers, e exporter) (took []float64, err error) {
	id, err := t.start(ctx, "ci-flood-2", "flood", strconv.Itoa(floodRate), calm.String())
	if err != nil {
		return nil, err
	}
	err = measure.Every(ctx, look, calm, func() error {
		_, one, err := e.scrape(ctx)
		took = append(took, one.Seconds())
		return err
	})
	if err != nil {
		return nil, err
	}
	return took, e.countedAll(ctx, "ci-flood-2", id)
}

// countedAll waits for the end of a flood, and compares what its program says that it printed with
// what was counted.
func (e exporter) countedAll(ctx context.Context, slot, id string) error {
	var want float64
	err := measure.Until(ctx, "the end of the flood", time.Second, func() (bool, error) {
		last, err := command(ctx, nil, "logs", "--tail=1", id)
		n, _ := fmt.Sscanf(last, "printed %g lines", &want)
		return n == 1, err
	})
	if err != nil {
		return err
	}
	var got float64
	err = measure.Until(ctx, "the last of the lines", look, func() (_ bool, err error) {
		got, err = e.value(ctx, "?collect[]=listener", "ghostrunner_runner_log_lines_total", map[string]string{"runner": slot})
		return got >= want, err
	})
	if err == nil && got != want {
		err = errors.New("some twice")
	}
	if err != nil {
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
