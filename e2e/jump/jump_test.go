// Package jump asks the real Prometheus and the real Alertmanager what becomes of them when the clock was hours ahead and is
// put right, on a kernel whose clock may be set. What internal/remedy/setback.go and compose.yaml do about it rests on this: if
// a newer version needs it no more, the test says so.
package jump

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/guest"
)

const (
	ahead    = 8 * time.Hour
	patience = 3 * time.Minute
	// quiet is how long nothing must come where something came every ten seconds before.
	quiet = 35 * time.Second
	dir   = "/tmp/jump"
)

func TestMain(m *testing.M) {
	guest.Boot()
	if guest.Inside() {
		if err := inside(); err != nil {
			fmt.Println("FAILED:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestPipelineAfterAJump(t *testing.T) {
	if why := guest.Missing(); why != "" {
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"prometheus", "alertmanager"} {
		if out, err := exec.CommandContext(t.Context(), "make", "-C", root, filepath.Join(root, ".cache", "bin", tool)).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", tool, err, out)
		}
	}
	work := filepath.Join(root, ".cache", "guest-test")
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	code, err := guest.Run(t.Context(), guest.Options{Dir: work, DiskBytes: 4e9, MemoryBytes: 1 << 30, Env: os.Environ(), Out: io.MultiWriter(&out, os.Stdout)})
	if err != nil || code != 0 {
		t.Errorf("code %d, %v", code, err)
	}
}

// world is what the two are connected to: a metric, and somebody who is told.
type world struct {
	cause  atomic.Int64
	mu     sync.Mutex
	told   map[string]int // by alert and status
	engine map[string]*exec.Cmd
}

func inside() error {
	ctx := context.Background()
	w := &world{told: map[string]int{}, engine: map[string]*exec.Cmd{}}
	if err := w.prepare(); err != nil {
		return err
	}
	server := &http.Server{Addr: "127.0.0.1:8080", Handler: http.HandlerFunc(w.serve), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.ListenAndServe() }() // ends with the guest
	if err := errors.Join(w.start(ctx, "prometheus"), w.start(ctx, "alertmanager")); err != nil {
		return err
	}

	const heartbeat, cause = "GhostrunnerWatchdog firing", "Cause firing"
	step := func(what string, err error) error {
		fmt.Println(time.Now().UTC().Format(time.DateTime), what, err)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	silent := func() error {
		before := w.count(heartbeat)
		time.Sleep(quiet) // that nothing comes can only be waited for
		if n := w.count(heartbeat) - before; n > 0 {
			return fmt.Errorf("%d heartbeats came: this version forgets by itself", n)
		}
		return nil
	}
	const fresh, recorded = `count_over_time(cause[15s]) > 3`, `count_over_time(ALERTS{alertname="GhostrunnerWatchdog"}[15s]) > 3`
	is := func(expr string) func() error {
		return func() error { return await(func() (bool, error) { return w.query(expr) }) }
	}
	for _, s := range []struct {
		what string
		do   func() error
	}{
		{"a heartbeat again and again", func() error { return w.more(heartbeat, 2) }},
		{"the clock is set ahead, and the cause begins", func() error { w.cause.Store(1); return guest.StepClock(ahead) }},
		{"the cause is told", func() error { return w.more(cause, 1) }},
		{"heartbeats of the future", func() error { return w.more(heartbeat, 2) }},
		{"the clock is put right, and the cause ends", func() error { w.cause.Store(0); return guest.StepClock(-ahead) }},
		{"Alertmanager believes in the cause", func() error { return w.believes(true) }},
		{"both are restarted, and forget nothing", func() error { return w.restart(ctx) }},
		{"no heartbeat comes", silent},
		{"Prometheus has no sample of the present", is(`absent(count_over_time(cause[15s]))`)},
		{"both are restarted with a note that the clock was set back", func() error {
			return errors.Join(os.WriteFile(dir+"/note", []byte("by 8h"), 0o600), w.restart(ctx))
		}},
		{"a heartbeat again and again", func() error { return w.more(heartbeat, 2) }},
		{"Alertmanager does not believe in the cause", func() error { return w.believes(false) }},
		{"Prometheus scrapes", is(fresh)},
		{"Prometheus records what its rules say", is(recorded)},
		{"the cause begins once more", func() error { w.cause.Store(1); return nil }},
		{"it is told", func() error { return w.more(cause, 1) }},
	} {
		if err := step(s.what, s.do()); err != nil {
			return err
		}
	}
	return nil
}

// prepare writes the configuration: what compose/prometheus/prometheus.yml says for all, in haste, and as little as possible
// of the rest.
func (w *world) prepare() error {
	shipped, err := os.ReadFile(filepath.Join("..", "..", "compose", "prometheus", "prometheus.yml"))
	if err != nil {
		return err
	}
	global, _, found := strings.Cut(string(shipped), "rule_files:")
	if !found {
		return errors.New("prometheus.yml has no rule_files")
	}
	for name, text := range map[string]string{
		"prometheus.yml": strings.ReplaceAll(global, " 15s", " 1s") + `
rule_files: [/tmp/jump/rules.yml]
alerting: { alertmanagers: [{ static_configs: [{ targets: ["127.0.0.1:9093"] }] }] }
scrape_configs: [{ job_name: world, static_configs: [{ targets: ["127.0.0.1:8080"] }] }]
`,
		"rules.yml": `groups: [{ name: jump, rules: [{ alert: GhostrunnerWatchdog, expr: vector(1) }, { alert: Cause, expr: cause == 1 }] }]`,
		"alertmanager.yml": `
route: { receiver: world, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 5s }
receivers: [{ name: world, webhook_configs: [{ url: "http://127.0.0.1:8080/hook" }] }]
`,
	} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// serve is the metric, and the webhook.
func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/hook" {
		fmt.Fprintf(rw, "# TYPE cause gauge\ncause %d\n", w.cause.Load())
		return
	}
	var in struct {
		Alerts []struct {
			Status string
			Labels map[string]string
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range in.Alerts {
		w.told[a.Labels["alertname"]+" "+a.Status]++
	}
}

func (w *world) count(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told[what]
}

// more waits until it was told so often again.
func (w *world) more(what string, n int) error {
	want := w.count(what) + n
	return await(func() (bool, error) { return w.count(what) >= want, nil })
}

// start starts one as compose.yaml does.
func (w *world) start(ctx context.Context, name string) error {
	args := map[string][]string{
		"prometheus":   {"--config.file=" + dir + "/prometheus.yml", "--storage.tsdb.path=.", "--web.listen-address=127.0.0.1:9090", "--rules.alert.resend-delay=2s"},
		"alertmanager": {"--config.file=" + dir + "/alertmanager.yml", "--storage.path=.", "--web.listen-address=127.0.0.1:9093", "--cluster.listen-address="},
	}[name]
	script, err := filepath.Abs(filepath.Join("..", "..", "compose", "forget.sh"))
	if err != nil {
		return err
	}
	program, err := filepath.Abs(filepath.Join("..", "..", ".cache", "bin", name))
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sh", append([]string{script, program, "--log.level=error"}, args...)...)
	cmd.Dir, cmd.Env = filepath.Join(dir, name), append(os.Environ(), "NOTE="+dir+"/note")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	w.engine[name] = cmd
	return errors.Join(os.MkdirAll(cmd.Dir, 0o755), cmd.Start())
}

// restart ends both as Docker does, and starts them again.
func (w *world) restart(ctx context.Context) error {
	for _, name := range []string{"prometheus", "alertmanager"} {
		if err := w.engine[name].Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		if err := w.engine[name].Wait(); err != nil {
			return err
		}
		if err := w.start(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// query reports whether Prometheus has a result for the expression, now.
func (w *world) query(expr string) (bool, error) {
	var out struct {
		Data struct{ Result []json.RawMessage }
	}
	err := get("http://127.0.0.1:9090/api/v1/query?query="+url.QueryEscape(expr), &out)
	return len(out.Data.Result) > 0, err
}

// believes demands that Alertmanager holds the cause to be true, or not.
func (w *world) believes(want bool) error {
	return await(func() (bool, error) {
		var alerts []struct{ Labels map[string]string }
		err := get("http://127.0.0.1:9093/api/v2/alerts?active=true", &alerts)
		has := false
		for _, a := range alerts {
			has = has || a.Labels["alertname"] == "Cause"
		}
		return has == want, err
	})
}

func get(page string, into any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(into)
}

// await asks until the answer is yes.
func await(is func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := is()
		if ok && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it did not happen in time (%w)", errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}
