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

// These tests run the real program against the real engine. Everything that they make carries a
// label of their own.

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

// scraper scrapes an exporter and remembers every counter of the present process.
type scraper struct {
	*stage

	cmd  *exec.Cmd
	log  *clitest.Output
	base string
	last map[string]float64
}

func (s *stage) scraper() *scraper {
	c := &scraper{stage: s}
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
	c.log, c.last = &clitest.Output{}, map[string]float64{}
	c.cmd = exec.Command(c.bin, "--web.listen-address=127.0.0.1:0", "--dns.names=localhost", "--docker.label="+c.label) //nolint:noctx // killed
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

// scrape returns the page. increase() counts a counter that goes back twice.
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

func (c *scraper) count(metric, slot string) int {
	return int(c.last[fmt.Sprintf(`ghostrunner_runner_%s{runner="%s"}`, metric, slot)])
}

// A job that prints 200 MB a minute, into a log that is rotated meanwhile, is read to the last
// line, each line once, and the lines of another runner are counted meanwhile.
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

// An exporter that is killed and started again shows the same state from its first page with the
// slot on, and counts from 0; runners that were restarted or stopped meanwhile begin again.
func TestRestartRestoresState(t *testing.T) {
	s := newStage(t)
	c := s.scraper()
	ids := map[string]string{}
	for _, slot := range []string{"ci-1", "ci-2", "ci-3"} {
		ids[slot] = s.talk(slot, map[string][]string{"ci-2": {"--tty"}}[slot], "life", "20", "6ms")
	}
	state := func(metric, slot string) string {
		return regexp.MustCompile(`(?m)^ghostrunner_runner_` + metric + `\{(?:reason="other",)?runner="` + slot + `"\} (\S+)$`).FindString(c.scrape())
	}
	for slot, id := range ids {
		clitest.Until(t, "the end of the log of "+slot, func() bool { return strings.Contains(s.docker(nil, "logs", "--tail=5", id), "done") })
		log := s.docker(nil, "logs", id)
		for metric, want := range map[string]int{
			"log_lines_total":          len(strings.Split(log, "\n")),
			"jobs_started_total":       strings.Count(log, "Running job: "),
			"retry_loop_matches_total": strings.Count(log, "Retrying until reconnected."),
			"unrecognised_lines_total": 0,
		} {
			clitest.Until(t, metric+" of "+slot, func() bool { c.scrape(); return c.count(metric, slot) >= want })
			if got := c.count(metric, slot); got != want {
				t.Errorf("%s of %s is %d, the log has %d", metric, slot, got, want)
			}
		}
	}
	var since, failed string
	clitest.Until(t, "the state before the restart", func() bool {
		since, failed = state("retrying_since_timestamp_seconds", "ci-1"), state("last_failure_timestamp_seconds", "ci-1")
		return since != "" && failed != ""
	})

	c.kill()
	s.docker(nil, "restart", ids["ci-2"])
	s.docker(nil, "stop", ids["ci-3"])
	c.start()
	clitest.Until(t, "ci-1", func() bool { return state("retrying", "ci-1") != "" })
	for metric, want := range map[string]string{"retrying_since_timestamp_seconds": since, "last_failure_timestamp_seconds": failed} {
		if got := state(metric, "ci-1"); got != want {
			t.Errorf("after the restart: %q, want %q", got, want)
		}
	}
	if got := state("retrying", "ci-1"); !strings.HasSuffix(got, " 1") {
		t.Errorf("after the restart: %q", got)
	}
	if n := c.count("jobs_started_total", "ci-1"); n != 0 {
		t.Errorf("%d jobs of before are counted", n)
	}
	clitest.Until(t, "the second run of ci-2", func() bool { return state("retrying", "ci-2") != "" })
	if got := state("retrying", "ci-3"); strings.HasSuffix(got, " 1") {
		t.Errorf("a runner that has ended: %q", got)
	}

	jobs := c.count("jobs_started_total", "ci-1")
	s.docker(nil, "restart", ids["ci-1"]) // seen live: counted
	clitest.Until(t, "the jobs of the next run", func() bool { c.scrape(); return c.count("jobs_started_total", "ci-1") == jobs+20 })
}
