// Package slots_test tests, on the real Docker and with the image of the shipped runner Dockerfile,
// that a slot recovers from every fault and loses no job: jobs without a pause during all faults,
// stops while jobs run, and a hostile job.
//
// All delays are scaled, by default to a twentieth, as the rules' durations are. `make slot-soak`
// runs 200 jobs. `-scale=1` uses all delays as shipped, to measure the figures of docs/figures.md.
package slots_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
	"github.com/blueguy23/ghostrunner/internal/lab"
)

var (
	jobs  = flag.Int("jobs", 30, "minimum number of jobs")
	seed  = flag.Uint64("seed", 0, "seed of the order of faults and jobs; 0: random")
	scale = flag.Float64("scale", 0.05, "factor for all delays")
	only  = flag.String("faults", "", "comma list of faults; empty: those of CI, or all from 100 jobs on")
)

const (
	project = "ghostrunner-slots"
	// grace is the containers' stop timeout, longer than the jobs of these tests.
	grace = time.Minute
)

// The stack that all tests share. They run one after another.
var (
	system *stack.Stack
	github *lab.Client
	env    map[string]string // of the Compose files
	slots  = []string{"ci-runner-1", "ci-runner-2"}
)

func scaled(d time.Duration) time.Duration { return time.Duration(float64(d) * *scale) }

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "slots:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	port, err := serveGitHub(ctx)
	if err != nil {
		return 1, err
	}
	github = lab.NewClient("http://127.0.0.1:" + strconv.Itoa(port))
	env = map[string]string{
		"GITHUB_API_URL":           fmt.Sprintf("http://lab.test:%d", port),
		"LAB_TIME_SCALE":           strconv.FormatFloat(*scale, 'g', -1, 64),
		"SESSION_CONFLICT_WAIT":    strconv.Itoa(max(1, int(scaled(30*time.Second).Seconds()))),
		"RUNNER_STOP_GRACE_PERIOD": grace.String(),
		"WATCHDOG_MAX_FIRES":       "1000", // a hundred faults in an hour are not a storm here
		"DOCKERHUB_USERNAME":       hubUser,
		"DOCKERHUB_TOKEN":          hubToken,
	}
	if system, err = stack.New(stack.Options{
		Project: project, FirstPort: 24068, Shipped: *scale == 1, Out: os.Stdout, Files: []string{"compose/dockerhub.yaml", "e2e/slots/slots.yaml"}, Env: env,
	}); err != nil {
		return 1, err
	}
	building, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	if env["RUNNER_IMAGE"], err = system.RunnerImage(building, stack.RunnerVersion); err != nil {
		return 1, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
		defer cancel()
		if code != 0 || err != nil {
			system.Diagnose(ctx, os.Stderr)
		}
		err = errors.Join(err, system.Down(ctx))
		if left, lerr := system.Leftovers(ctx); lerr != nil || len(left) > 0 {
			err = errors.Join(err, fmt.Errorf("Down left %v behind (%w)", left, lerr))
		}
	}()
	if err := system.Up(building); err != nil {
		return 1, err
	}
	if err := scenario.Ready(building, system); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// serveGitHub serves a simulated GitHub on all addresses, because containers use the bridge's.
func serveGitHub(ctx context.Context) (port int, err error) {
	hub, err := lab.NewGitHub(lab.GitHubOptions{
		Token: func() (string, error) { return stack.Token, nil }, Owner: "acme", Repo: "widgets",
		OfflineAfter: 5 * time.Second, TimeScale: *scale,
	})
	if err != nil {
		return 0, err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp4", ":0")
	if err != nil {
		return 0, err
	}
	server := &http.Server{Handler: hub, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
	go func() { _ = hub.Run(ctx) }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// await has a generous timeout, only to end a test that hangs.
func await(t *testing.T, what string, condition func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute+scaled(30*time.Minute))
	defer cancel()
	if err := stack.Await(ctx, what, condition); err != nil {
		t.Fatal(err)
	}
}

// state is the state of the simulated GitHub.
func state(t *testing.T) lab.State {
	t.Helper()
	st, err := github.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// awaitState waits for a state of the simulated GitHub.
func awaitState(t *testing.T, what string, ok func(lab.State) bool) (last lab.State) {
	t.Helper()
	await(t, what, func(ctx context.Context) (done bool, err error) {
		last, err = github.State(ctx)
		return err == nil && ok(last), err
	})
	return last
}

// enqueue queues a job for a slot, or for any.
func enqueue(t *testing.T, job lab.JobRequest) lab.Job {
	t.Helper()
	if job.Duration == "" {
		job.Duration = "0s"
	}
	queued, err := github.Enqueue(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	return queued
}

// find returns a job and the list that has it.
func find(st lab.State, id int64) (job lab.Job, where string) {
	for place, list := range map[string][]lab.Job{"queued": st.Queued, "running": st.Running, "completed": st.Completed, "lost": st.Lost} {
		for _, j := range list {
			if j.ID == id {
				return j, place
			}
		}
	}
	return lab.Job{}, "nowhere"
}

// awaitRunning waits until a job runs.
func awaitRunning(t *testing.T, id int64) {
	t.Helper()
	awaitState(t, fmt.Sprintf("job %d to run", id), func(st lab.State) bool {
		job, where := find(st, id)
		return where == "running" && !job.Acquired.IsZero()
	})
}

// awaitCompleted waits until a job is over and returns it.
func awaitCompleted(t *testing.T, id int64) lab.Job {
	t.Helper()
	job, _ := find(awaitState(t, fmt.Sprintf("job %d to be over", id), func(st lab.State) bool {
		_, where := find(st, id)
		return where == "completed"
	}), id)
	return job
}

// workLeft lists the files in the work directories of all slots, even of stopped containers.
func workLeft(t *testing.T) string {
	t.Helper()
	args := []string{"run", "--rm", "--network=none", "--entrypoint=find"}
	for _, service := range []string{"runner-1", "runner-2"} {
		args = append(args, "--volume", project+"_"+service+"-work:/left/"+service)
	}
	out, err := system.Docker(t.Context(), append(args, env["RUNNER_IMAGE"], "/left", "-mindepth", "2")...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
