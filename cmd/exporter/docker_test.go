package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/cmd/internal/clitest"
)

// These tests run the real program against the real engine. Everything that they make carries a label of their own.

// stage is what one test made on the engine.
type stage struct {
	*testing.T

	label string // KEY=VALUE
	image string
	dir   string
	bin   string
}

// docker runs the docker command and returns what it printed, to both of its streams.
func (s *stage) docker(stdin io.Reader, args ...string) string {
	s.Helper()
	out, err := tryDocker(stdin, args...)
	if err != nil {
		s.Fatalf("docker %s: %v\n%s\nThis test needs a Docker engine and the docker command: start dockerd, or set DOCKER_HOST.", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func tryDocker(stdin io.Reader, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), clitest.WaitLimit) // also at the end of a test
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{T: t, label: fmt.Sprintf("ghostrunner-test=%s-%d", strings.ToLower(t.Name()), time.Now().UnixNano()), dir: t.TempDir()}
	t.Cleanup(func() {
		mine := "label=" + s.label
		if ids, err := tryDocker(nil, "ps", "-aq", "--filter", mine); err == nil && ids != "" {
			_, _ = tryDocker(nil, append([]string{"rm", "-f"}, strings.Fields(ids)...)...)
		}
		if ids, err := tryDocker(nil, "images", "-aq", "--filter", mine); err == nil && ids != "" {
			_, _ = tryDocker(nil, append([]string{"rmi", "-f"}, strings.Fields(ids)...)...)
		}
	})
	s.bin = s.build(".", "exporter")
	talker, err := os.ReadFile(s.build("./testdata/talker", "talker"))
	if err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	if err := w.WriteHeader(&tar.Header{Name: "talker", Mode: 0o755, Size: int64(len(talker))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(talker); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s.image = s.docker(&image, "import", "--change", `ENTRYPOINT ["/talker"]`, "--change", "LABEL "+s.label, "-")
	return s
}

func (s *stage) build(pkg, name string) string {
	s.Helper()
	out := filepath.Join(s.dir, name)
	cmd := exec.CommandContext(s.Context(), "go", "build", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		s.Fatalf("go build %s: %v\n%s", pkg, err, msg)
	}
	return out
}

// talk starts a runner container that talks, and returns its id. The flags are those of docker run.
func (s *stage) talk(slot string, flags []string, mode ...string) string {
	s.Helper()
	args := append([]string{
		"run", "-d", "--network=none", "--label", s.label, "--label", "ghostrunner.role=runner", "--label", "ghostrunner.runner=" + slot,
	}, flags...)
	return s.docker(nil, append(append(args, s.image), mode...)...)
}

// scraper is somebody who scrapes an exporter, whichever process that is now, and remembers every counter.
type scraper struct {
	*stage

	cmd   *exec.Cmd
	begun time.Time
	log   *clitest.Output
	base  string
	last  map[string]float64
}

func (s *stage) scraper() *scraper {
	c := &scraper{stage: s, last: map[string]float64{}}
	c.start()
	s.Cleanup(func() {
		c.kill()
		if s.Failed() {
			s.Logf("log of the last exporter:\n%s", c.log)
		}
	})
	return c
}

func (c *scraper) start() {
	c.Helper()
	c.log, c.begun = &clitest.Output{}, time.Now()
	c.cmd = exec.Command(c.bin, "--web.listen-address=127.0.0.1:0", "--dns.names=localhost", "--docker.label="+c.label, //nolint:noctx // killed
		"--listener.state-file="+filepath.Join(c.dir, "state"))
	c.cmd.Env = append(os.Environ(), "CHRONY_ADDRESS=", "NTP_SERVERS=")
	c.cmd.Stderr = c.log
	if err := c.cmd.Start(); err != nil {
		c.Fatal(err)
	}
	c.base = "http://" + c.log.Address(c)
}

// kill is SIGKILL.
func (c *scraper) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

var counterLine = regexp.MustCompile(`(?m)^(ghostrunner_runner_\w+_total\{.*\}) (\S+)$`)

// scrape returns the page. A counter that goes backwards is one that increase() counts twice.
func (c *scraper) scrape() string {
	c.Helper()
	req, err := http.NewRequestWithContext(c.Context(), http.MethodGet, c.base+"/metrics", http.NoBody)
	if err != nil {
		c.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Fatal(err)
	}
	for _, m := range counterLine.FindAllStringSubmatch(string(page), -1) {
		v, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			c.Fatal(err)
		}
		if v < c.last[m[1]] {
			c.Errorf("%s went back from %v to %v", m[1], c.last[m[1]], v)
		}
		c.last[m[1]] = v
	}
	return string(page)
}

// first returns the first page that tells anything of the slot.
func (c *scraper) first(slot string) (page string) {
	c.Helper()
	clitest.Until(c, "the slot "+slot, func() bool {
		page = c.scrape()
		return strings.Contains(page, `runner="`+slot+`"}`) && strings.Contains(page, `ghostrunner_runner_log_lines_total{runner="`+slot+`"}`)
	})
	return page
}

// wrote reports whether this process has written the place in the log of that container.
func (c *scraper) wrote(id string) bool {
	text, err := os.ReadFile(filepath.Join(c.dir, "state"))
	info, err2 := os.Stat(filepath.Join(c.dir, "state"))
	return err == nil && err2 == nil && info.ModTime().After(c.begun) && strings.Contains(string(text), id)
}

func (c *scraper) count(metric, slot string) int {
	return int(c.last[fmt.Sprintf(`ghostrunner_runner_%s{runner="%s"}`, metric, slot)])
}

// A job that prints 200 MB a minute, into a log that is rotated all the while, is read to the last line, each line once, and
// what another runner says meanwhile is told.
func TestFlood(t *testing.T) {
	s := newStage(t)
	c := s.scraper()
	rotated := []string{"--log-driver=json-file", "--log-opt=max-size=10m", "--log-opt=max-file=4"}
	s.talk("ci-other", nil, "beat", "50ms")
	id := s.talk("ci-flood", rotated, "flood", "200000000", "6s")
	var others []int
	var printed int
	clitest.Until(t, "the end of the flood", func() bool {
		c.scrape()
		if n := c.count("jobs_started_total", "ci-other"); len(others) == 0 || n > others[len(others)-1] {
			others = append(others, n)
		}
		n, _ := fmt.Sscanf(s.docker(nil, "logs", "--tail=1", id), "printed %d lines", &printed)
		return n == 1
	})
	if len(others) < 3 {
		t.Errorf("while the flood lasted the jobs of the other runner were seen as %v", others)
	}
	clitest.Until(t, "the last line", func() bool { c.scrape(); return c.count("log_lines_total", "ci-flood") >= printed })
	c.scrape()
	if got := c.count("log_lines_total", "ci-flood"); got != printed {
		t.Errorf("%d lines counted, %d were printed", got, printed)
	}
	if got := c.count("jobs_started_total", "ci-flood"); got != 1 {
		t.Errorf("%d jobs of the flood", got)
	}
}

// Whatever moment the exporter is killed in, and whatever happens while it is away: its counters go on, and say in the end
// what stands in the logs, no more and no less; and the first page that shows a slot shows what it does now.
func TestKilledCountsOnce(t *testing.T) {
	const rounds, pause = "1000", "6ms"
	s := newStage(t)
	c := s.scraper()
	ids := map[string]string{
		"ci-1": s.talk("ci-1", nil, "life", rounds, pause),
		"ci-2": s.talk("ci-2", []string{"--tty"}, "life", rounds, pause),
	}
	for i := range 4 {
		c.first("ci-1") // it has found its way
		jobs := c.count("jobs_started_total", "ci-1") + 25
		clitest.Until(t, "more jobs", func() bool { c.scrape(); return c.count("jobs_started_total", "ci-1") >= jobs })
		if i > 1 { // the first two times it is killed before it has written where in the logs it is
			clitest.Until(t, "the state file", func() bool { c.scrape(); return c.wrote(ids["ci-1"]) })
		}
		c.kill()
		if i == 1 { // a run ends and another begins, and nobody sees it
			s.docker(nil, "restart", ids["ci-1"], ids["ci-2"])
		}
		c.start()
	}
	logs := map[string]string{}
	for slot, id := range ids {
		clitest.Until(t, "the end of the log of "+slot, func() bool { return strings.Contains(s.docker(nil, "logs", "--tail=5", id), "done") })
		logs[slot] = s.docker(nil, "logs", id)
		for metric, want := range map[string]int{
			"log_lines_total":            len(strings.Split(logs[slot], "\n")),
			"jobs_started_total":         strings.Count(logs[slot], "Running job: "),
			"retry_loop_matches_total":   strings.Count(logs[slot], "Retrying until reconnected."),
			"unrecognised_lines_total":   0,
			"session_conflicts_total":    0,
			"jobs_completed_total (all)": strings.Count(logs[slot], " completed with result: Succeeded"),
		} {
			got := func() int { return c.count(metric, slot) }
			if strings.HasPrefix(metric, "jobs_completed") {
				got = func() int {
					return int(c.last[`ghostrunner_runner_jobs_completed_total{result="Succeeded",runner="`+slot+`"}`])
				}
			}
			clitest.Until(t, fmt.Sprintf("%s of %s to reach %d", metric, slot, want), func() bool { c.scrape(); return got() >= want })
			if got() != want {
				t.Errorf("%s of %s is %d, the log has %d", metric, slot, got(), want)
			}
		}
		if runs := strings.Count(logs[slot], "Current runner version"); runs != 2 {
			t.Errorf("%s: %d runs in the log, want 2", slot, runs)
		}
	}

	// Both are in an outage now. One goes on with it while the exporter is away, the other one is stopped.
	since := regexp.MustCompile(`ghostrunner_runner_retrying_since_timestamp_seconds\{runner="ci-1"\} \S+`)
	before := since.FindString(c.scrape())
	c.kill()
	s.docker(nil, "stop", ids["ci-2"])
	c.start()
	page := c.first("ci-1")
	for _, line := range []string{`ghostrunner_runner_retrying{runner="ci-1"} 1`, `ghostrunner_runner_job_running{runner="ci-1"} 0`, before} {
		if before == "" || !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("the first page after a restart has no %q", line)
		}
	}
	if page := c.first("ci-2"); !strings.Contains(page, "\n"+`ghostrunner_runner_retrying{runner="ci-2"} 0`+"\n") {
		t.Error("the first page after a restart does not know that ci-2 has ended")
	}
	for slot := range ids {
		if got, want := c.count("jobs_started_total", slot), strings.Count(logs[slot], "Running job: "); got != want {
			t.Errorf("after one more restart %d jobs of %s, want %d", got, slot, want)
		}
	}
}
