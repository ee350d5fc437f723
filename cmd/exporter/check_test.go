package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shirou/gopsutil/v3/disk"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
	"github.com/blueguy23/ghostrunner/internal/clock"
	"github.com/blueguy23/ghostrunner/internal/collector"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// checked runs check and returns its exit code and its table.
func checked(t *testing.T, args ...string) (code int, table string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), append([]string{"check", "--dns.names=localhost"}, args...), &stdout, &stderr)
	if stderr.Len() > 0 || strings.Contains(stdout.String(), secret) {
		t.Errorf("stderr %q, stdout:\n%s", &stderr, &stdout)
	}
	return code, stdout.String()
}

// has fails unless each text is in the table.
func has(t *testing.T, table string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(table, want) {
			t.Errorf("%q is missing in\n%s", want, table)
		}
	}
}

func TestCheck(t *testing.T) {
	clean(t)
	gh := fakeGitHub(t, secret)
	t.Setenv("GITHUB_PAT", secret)
	code, got := checked(t, "--docker.host="+fakeDocker(t, t.TempDir()), "--github.owner=o", "--github.repo=r", "--github.api-url="+gh.URL)
	has(t, got,
		"container   FAIL   gr-mongo-1 is running unhealthy, gr-redis-1 is exited\n                   → docker logs gr-mongo-1\n",
		"listener    FAIL   ci-runner-1 tries to reach GitHub since ", "among the other lines",
		"github      ok     o/r has 1 runner, 1 online, 1 busy; 4321 of 5000 requests left\n",
		"credential  ok     valid, expires ", "clock       ok     github +0 s, to the second\n", "disk        ok     /", "dns         ok     localhost found\n",
		"threshold   ok     the defaults of the rules\n",
	)
	if code != 1 || strings.Contains(got, "\x1b") {
		t.Errorf("exit code %d, or colors without a terminal:\n%q", code, got)
	}
}

// TestCheckBlackHoles has nothing that answers, and nothing that refuses to.
func TestCheckBlackHoles(t *testing.T) {
	clean(t)
	t.Setenv("GITHUB_PAT", secret)
	tcp := func(network, address string) string {
		l, err := net.Listen(network, address) //nolint:noctx // a test's own port; nobody accepts
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l.Addr().String()
	}
	dir, err := os.MkdirTemp("", "gr") // t.TempDir can be too long for the address of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	udp, err := net.ListenPacket("udp", "127.0.0.1:0") //nolint:noctx // a test's own port; nobody reads
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = udp.Close() })
	hole := udp.LocalAddr().String()

	cfg, _, err := parse([]string{
		"check", "--docker.host=unix://" + tcp("unix", filepath.Join(dir, "d.sock")), "--github.owner=o", "--github.scope=org,enterprises/e",
		"--github.api-url=http://" + tcp("tcp", "127.0.0.1:0"), "--clock.chrony-address=" + hole, "--clock.ntp-servers=" + hole, "--disk.paths=/a,/b",
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	e, err := build(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	e.dns = collector.NewDNS(&net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", hole)
	}}, []string{"api.example"})
	e.statfs = func(context.Context, string) (*disk.UsageStat, error) { select {} }

	began := time.Now()
	r := e.check(t.Context())
	if took := time.Since(began); took >= 5*time.Second {
		t.Errorf("took %v", took)
	}
	table := r.text(t)
	has(t, table, "container   FAIL", "github      FAIL   list runners of o: timeout", "credential  note", "clock       FAIL   chrony", "clock       FAIL   ntp",
		"disk        FAIL   /a: the file system does not answer", "disk        FAIL   /b:", "dns         FAIL   look up api.example")
	if r.OK {
		t.Error("all is well")
	}
	for _, f := range r.Findings {
		if f.State != well && len(f.Remedy) == 0 {
			t.Errorf("no remedy: %+v", f)
		}
	}
}

// refusing is a GitHub that says the same to everybody.
func refusing(t *testing.T, status int, body string, header ...string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestCheckRefusals(t *testing.T) {
	clean(t)
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
	list := `{"total_count":0,"runners":[]}`
	for name, tc := range map[string]struct {
		url   string
		wants []string
	}{
		"rejected": {
			refusing(t, 401, `{"message":"Bad credentials"}`),
			[]string{"github      FAIL   list runners of o/r: auth (401)", "credential  FAIL   GitHub rejects the token", "mistyped, revoked or expired; put a new one into the token file"},
		},
		"fine-grained without the right": {
			refusing(t, 403, `{"message":"Resource not accessible by personal access token"}`, "X-Accepted-GitHub-Permissions", "administration=read"),
			[]string{"github      FAIL", "→ give the token the permission that GitHub asks for: administration=read", "credential  FAIL   valid, but it may not list"},
		},
		"classic without the scope": {
			refusing(t, 200, list, "X-OAuth-Scopes", "gist", "X-Accepted-OAuth-Scopes", "repo"),
			[]string{"github      ok     o/r has 0 runners", "credential  FAIL   valid, but it may not list", "→ classic token: scope repo"},
		},
		"not visible": {
			refusing(t, 404, `{"message":"Not Found"}`, "X-OAuth-Scopes", "repo"),
			[]string{"github      FAIL", "o/r does not exist, or the token may not see it", "credential  ok     valid, GitHub reports no expiry"},
		},
		"no quota left": {
			refusing(t, 403, `{"message":"API rate limit exceeded"}`, "X-RateLimit-Remaining", "0", "X-RateLimit-Limit", "5000"),
			[]string{"github      FAIL   list runners of o/r: rate_limited", "→ the quota is shared"},
		},
		"a login page": {
			refusing(t, 200, "<html>\x1b[31mlog in", "Content-Type", "text/html"),
			[]string{"github      FAIL   list runners of o/r: invalid", "a login page in between", "credential  note   GitHub said nothing"},
		},
		"no GitHub": {
			"http://127.0.0.1:1",
			[]string{"github      FAIL   list runners of o/r: network", "check DNS, VPN and proxy", "credential  note", "clock       FAIL   no clock answers\n", "→ run chronyd"},
		},
		"good": {
			refusing(t, 200, list, "GitHub-Authentication-Token-Expiration", "2031-01-31 23:00:00 +0100"),
			[]string{"github      ok     o/r has 0 runners, 0 online, 0 busy\n", "credential  ok     valid, expires 2031-01-31T22:00:00Z\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GITHUB_PAT", secret) // each run takes it away
			code, got := checked(t, "--github.owner=o", "--github.repo=r", "--github.api-url="+tc.url, "--disk.paths=/", "--web.listen-address=127.0.0.1:1")
			has(t, got, append(tc.wants, "container   FAIL", "DOCKER_GID", "listener    note   not read")...)
			if code != 1 || strings.Contains(got, "\x1b") {
				t.Errorf("exit code %d:\n%q", code, got)
			}
		})
	}
}

func TestCheckRejectedToken(t *testing.T) {
	clean(t)
	gh := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		reply(w, map[string]string{"message": "Bad credentials"})
	}))
	t.Cleanup(gh.Close)
	code, got := checked(t, "--docker.host=unix:///nonexistent", "--disk.paths=/", "--github.owner=o", "--github.api-url="+gh.URL,
		"--github.token-file="+tokenFile(t, secret))
	has(t, got, "credential  FAIL   GitHub rejects the token", "→ the token is mistyped, revoked or expired")
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// TestCheckClocks has every answer that a clock can give.
func TestCheckClocks(t *testing.T) {
	chrony := runner.ClockSample{Source: clock.SourceChrony, SynchronizedKnown: true, Synchronized: true, HasOffset: true, Offset: 3 * time.Millisecond}
	with := func(change func(*runner.ClockSample)) clock.Answer {
		s := chrony
		change(&s)
		return clock.Answer{Source: s.Source, Sample: s}
	}
	good, dead := with(func(*runner.ClockSample) {}), clock.Answer{Source: clock.SourceNTP, Err: errors.New("no route"), Hint: "UDP port 123"}
	for name, tc := range map[string]struct {
		answers []clock.Answer
		wants   []string
		ok      bool
	}{
		"good":             {[]clock.Answer{good}, []string{"ok     chrony +0.003 s, synchronized"}, true},
		"one of two":       {[]clock.Answer{good, dead}, []string{"ok     chrony", "note   ntp does not answer: no route", "→ UDP port 123"}, true},
		"none of one":      {[]clock.Answer{dead}, []string{"FAIL   ntp does not answer: no route", "→ UDP port 123"}, false},
		"none to be asked": {nil, []string{"FAIL   no clock answers", "→ run chronyd"}, false},
		"never synchronized, or its own clock": {
			[]clock.Answer{with(func(s *runner.ClockSample) { s.Synchronized, s.HasOffset, s.Offset = false, false, 0 })},
			[]string{"FAIL   chrony is not synchronized", "→ chronyc sources"},
			false,
		},
		"lost its servers":       {[]clock.Answer{with(func(s *runner.ClockSample) { s.HasOffset, s.Offset = false, 0 })}, []string{"FAIL   chrony has had no recent answer", "→ chronyc sources"}, false},
		"drift is for the rules": {[]clock.Answer{with(func(s *runner.ClockSample) { s.Offset = -299 * time.Second })}, []string{"ok     chrony -299.000 s"}, true},
		"beyond what GitHub takes": {
			[]clock.Answer{with(func(s *runner.ClockSample) { s.Offset = -8 * time.Hour })},
			[]string{"FAIL   chrony -28800.000 s", "5m0s GitHub refuses", "→ set the clock", "→ after Windows slept"},
			false,
		},
	} {
		c := &checker{exporter: &exporter{}, host: host{wsl: true}}
		r := newReport("", c.judgeClocks(tc.answers))
		if r.OK != tc.ok {
			t.Errorf("%s: ok %t", name, r.OK)
		}
		has(t, r.text(t), tc.wants...)
	}
}

// text is the table as it is without a terminal.
func (r report) text(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	if err := r.write(&b, formatTable); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestCheckDisk has no opinion of how little space is little.
func TestCheckDisk(t *testing.T) {
	space := map[string]*disk.UsageStat{"/full": {Free: 0, Total: 1e9}, "/": {Free: 2e9, Total: 4e9}}
	e := &exporter{
		cfg: config{diskPaths: []string{"/full", "/", "/gone"}},
		statfs: func(_ context.Context, path string) (*disk.UsageStat, error) {
			s, ok := space[path]
			if !ok {
				return s, os.ErrNotExist
			}
			return s, nil
		},
	}
	for _, wsl := range []bool{false, true} {
		table := newReport("", (&checker{exporter: e, host: host{wsl: wsl}}).readDisk(t.Context())).text(t)
		has(t, table, "ok     /full: 0.0 of 1.0 GB free", "ok     /: 2.0 of 4.0 GB free", "FAIL   /gone: file does not exist", "--disk.paths (DISK_PATHS)")
		if strings.Contains(table, "VHDX") != wsl {
			t.Errorf("WSL2 %t:\n%s", wsl, table)
		}
	}
}

// TestCheckContainers has what the engine can show.
func TestCheckContainers(t *testing.T) {
	up := runner.Container{Name: "r-1", Role: "runner", Runner: "r-1", State: "running"}
	with := func(change func(*runner.Container)) runner.Container {
		c := up
		change(&c)
		return c
	}
	many := slices.Repeat([]runner.Container{with(func(c *runner.Container) { c.State = "exited" })}, 9)
	for name, tc := range map[string]struct {
		containers []runner.Container
		err        error
		want       string
		ok         bool
	}{
		"good":                        {[]runner.Container{up, {Name: "db", Role: "service", State: "running", Health: "starting"}}, nil, "1 runner, 1 service, all running", true},
		"down":                        {nil, errors.New("connection refused"), "FAIL   connection refused", false},
		"none":                        {[]runner.Container{{Name: "other", State: "running"}}, nil, "no container has the label", false},
		"unhealthy":                   {[]runner.Container{with(func(c *runner.Container) { c.Health = "unhealthy" })}, nil, "r-1 is running unhealthy", false},
		"restarting, again and again": {[]runner.Container{with(func(c *runner.Container) { c.State = "restarting" })}, nil, "r-1 is restarting", false},
		"many":                        {many, nil, "r-1 is exited, r-1 is exited, r-1 is exited, r-1 is exited, r-1 is exited and 4 more", false},
		"no scope":                    {[]runner.Container{with(func(c *runner.Container) { c.Scope = "a/b/c" })}, nil, `r-1: ghostrunner.scope="a/b/c"`, false},
	} {
		c := &checker{exporter: &exporter{}, host: host{wsl: true}, containers: func() ([]runner.Container, error) { return tc.containers, tc.err }}
		r := newReport("", c.readContainers(t.Context()))
		if r.OK != tc.ok {
			t.Errorf("%s: ok %t", name, r.OK)
		}
		has(t, r.text(t), tc.want)
		if tc.err != nil {
			has(t, r.text(t), "Resource Saver")
		}
	}
}

func TestCheckHost(t *testing.T) {
	dir := t.TempDir()
	for kernel, wsl := range map[string]bool{
		"6.6.87.2-microsoft-standard-WSL2\n": true, "5.15.167.4-Microsoft-standard-WSL2": true, "6.12.0-amd64\n": false, "5.15.0-1064-azure": false,
	} {
		path := filepath.Join(dir, "osrelease")
		if err := os.WriteFile(path, []byte(kernel), 0o600); err != nil {
			t.Fatal(err)
		}
		h := hostOf(path)
		r := newReport("", h.findings())
		if h.wsl != wsl || !r.OK || (len(r.Findings) > 0) != wsl {
			t.Errorf("%q: %+v, %+v", kernel, h, r)
		}
		if wsl {
			has(t, r.text(t), "host    note   WSL2, kernel ", "instanceIdleTimeout=-1", "GhostrunnerWatchdog")
		}
	}
	if h := hostOf(dir); h.wsl {
		t.Errorf("%+v", h)
	}
	c := &checker{exporter: &exporter{cfg: config{dnsNames: []string{"a.example"}}, dns: collector.NewDNS(lost{}, []string{"a.example"})}, host: host{wsl: true}}
	has(t, newReport("", c.readDNS(t.Context())).text(t), "FAIL   look up a.example", "dnsTunneling=true", "restart the containers")
}

// lost is a resolver that knows no name.
type lost struct{}

func (lost) LookupHost(context.Context, string) ([]string, error) {
	return nil, errors.New("no such host")
}

// TestCheckJSON is what programs read.
func TestCheckJSON(t *testing.T) {
	clean(t)
	t.Setenv("GITHUB_PAT", secret)
	gh := fakeGitHub(t, secret)
	_, text := checked(t, "--format=json", "--docker.host="+fakeDocker(t, t.TempDir()), "--github.owner=o", "--github.repo=r", "--github.api-url="+gh.URL)
	var got struct {
		OK       *bool
		Version  *string
		Findings []struct {
			Source, State, Detail string
			Remedy                []string
		}
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil || got.OK == nil || *got.OK || got.Version == nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	states := map[string][]string{}
	for _, f := range got.Findings {
		states[f.State] = append(states[f.State], f.Source)
		if f.Detail == "" || (f.State == "fail") != (len(f.Remedy) > 0) {
			t.Errorf("%+v", f)
		}
	}
	if fmt.Sprint(states["fail"]) != "[container listener]" || fmt.Sprint(states["ok"]) != "[github credential clock disk dns threshold]" {
		t.Errorf("%v", states)
	}
}

// TestCheckOnATerminal: colors on a terminal only, and no text that could steer it.
func TestCheckOnATerminal(t *testing.T) {
	r := newReport("", []finding{
		good("a", "fine"), note("longer", "hm", "do this"), fail("b", errors.New("bad\x1b]0;title\x07\nand worse\xff"), "\x1b[2Jrepair", ""),
	})
	const table = "SOURCE  STATE  DETAIL\n" +
		"a       ok     fine\n" +
		"longer  note   hm\n" +
		"               → do this\n" +
		"b       FAIL   bad\uFFFD]0;title\uFFFD; and worse\uFFFD\n" +
		"               → \uFFFD[2Jrepair\n"
	terminal, screen := pty(t)
	show := func() string {
		t.Helper()
		if err := r.write(terminal, formatTable); err != nil {
			t.Fatal(err)
		}
		_, _ = terminal.WriteString("END")
		var got []byte
		for !bytes.HasSuffix(got, []byte("END")) {
			buf := make([]byte, 4096)
			n, err := screen.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, buf[:n]...)
		}
		return strings.ReplaceAll(strings.TrimSuffix(string(got), "END"), "\r\n", "\n")
	}
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	colored := show()
	if strings.Count(colored, "\x1b[1;31m") != 1 || !strings.Contains(colored, "\x1b[32mok\x1b[0m   ") {
		t.Errorf("%q", colored)
	}
	for _, code := range []cli.Color{cli.Plain, cli.Bold, cli.Dim, cli.Green, cli.Yellow, cli.Red} {
		colored = strings.ReplaceAll(colored, string(code), "")
	}
	if colored != table {
		t.Errorf("without its colors:\n%q", colored)
	}
	t.Setenv("TERM", "dumb")
	if got := show(); got != table {
		t.Errorf("TERM=dumb:\n%q", got)
	}
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "1")
	if got := show(); got != table {
		t.Errorf("NO_COLOR:\n%q", got)
	}
	t.Setenv("NO_COLOR", "")
	pipeRead, pipeWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.write(pipeWrite, formatTable), pipeWrite.Close()); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(pipeRead); err != nil || string(got) != table {
		t.Errorf("into a pipe: %v\n%q", err, got)
	}
	_ = pipeRead.Close()
}

// pty opens a terminal: what is written to it appears on the screen.
func pty(t *testing.T) (terminal, screen *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	return terminal, screen
}
