package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const secret = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"

// clean removes what the machine's own environment could say to the exporter, and turns off what
// would ask its network.
func clean(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"DOCKER_HOST", "GITHUB_API_URL", "GITHUB_PAT", "GITHUB_PAT_FILE", "GITHUB_SCOPES", "REPO_OWNER", "REPO_NAME",
		"CHRONY_ADDRESS", "NTP_SERVERS", "DISK_PATHS", "PRUNE_THRESHOLD_GB", "WATCHDOG_MAX_FIRES", "CLOCK_DRIFT_SECONDS",
	} {
		t.Setenv(name, "")
		if name != "CHRONY_ADDRESS" && name != "NTP_SERVERS" { // which mean something when empty
			_ = os.Unsetenv(name)
		}
	}
}

func tokenFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	seenInDocker = `ghostrunner_container_healthy{container="gr-mongo-1",role="service"} 0`
	seenInLogs   = `ghostrunner_runner_retrying{runner="ci-runner-1"} 1`
	seenAtGitHub = `ghostrunner_github_runners{scope="o/r",state="busy"} 1`
	seenOfToken  = `ghostrunner_pat_valid 1`
	seenOfDisk   = `ghostrunner_disk_free_bytes{path=`
	seenOfDNS    = `ghostrunner_dns_lookup_success{name="localhost"} 1`
)

func TestEverything(t *testing.T) {
	clean(t)
	gh, root := fakeGitHub(t, secret), t.TempDir()
	t.Setenv("DOCKER_HOST", fakeDocker(t, root))
	t.Setenv("REPO_OWNER", "o")
	t.Setenv("REPO_NAME", "r")
	t.Setenv("GITHUB_API_URL", gh.URL)
	t.Setenv("GITHUB_PAT_FILE", tokenFile(t, " "+secret+"\r\n"))
	t.Setenv("PRUNE_THRESHOLD_GB", "12.5")
	t.Setenv("WATCHDOG_MAX_FIRES", "") // as Compose passes what .env leaves out
	b := boot(t)
	body := b.exports(seenInDocker, seenInLogs, seenAtGitHub, seenOfToken, seenOfDNS,
		`ghostrunner_disk_free_bytes{path="`+root+`"}`,
		`ghostrunner_docker_up 1`,
		`ghostrunner_docker_reclaimable_bytes{kind="build_cache"} 42`,
		`ghostrunner_container_last_exit_code{container="gr-redis-1",role="service"} 137`,
		`ghostrunner_runner_online{runner="ci-runner-1"} 1`,
		`ghostrunner_runner_info{labels="linux,self-hosted",name="ci-runner-1-abc",os="linux",runner="ci-runner-1",scope="o/r",version="2.336.0"} 1`,
		`ghostrunner_runner_retry_loop_matches_total{runner="ci-runner-1"} 0`,
		`ghostrunner_runner_retrying_since_timestamp_seconds{runner="ci-runner-1"} `,
		`ghostrunner_github_requests_total{code="200"} `,
		`ghostrunner_github_rate_limit_remaining{resource="core"} 4321`,
		`ghostrunner_pat_expiry_timestamp_seconds `,
		`ghostrunner_pat_permission_sufficient 1`,
		`ghostrunner_clock_offset_seconds{source="github"} `,
		`ghostrunner_clock_jumps_total{direction="forward"} 0`,
		`ghostrunner_threshold{name="disk_prune_bytes"} 1.25e+10`,
		`ghostrunner_exporter_build_info{`,
		`promhttp_metric_handler_requests_total{code="200"} `,
	)
	b.without(body, `ghostrunner_threshold{name="watchdog_max_fires"}`, `ghostrunner_clock_offset_seconds{source="chrony"}`)
	if strings.Contains(body, "collector_success{collector=\"disk\"} 0") {
		t.Error("a source failed:", b.log)
	}
	if ready := b.get("/-/ready"); ready != program+" is ready.\n" {
		t.Errorf("/-/ready: %q", ready)
	}
	if body := b.get("/metrics?collect[]=container&collect[]=listener"); !strings.Contains(body, seenInLogs) ||
		strings.Contains(body, "ghostrunner_pat") || strings.Contains(body, "go_goroutines") {
		t.Errorf("the fast scrape gives:\n%s", body)
	}
	if code := b.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
}

func TestWithoutDocker(t *testing.T) {
	clean(t)
	gh := fakeGitHub(t, secret)
	b := boot(t, "--docker.host=unix:///nonexistent/docker.sock", "--disk.paths="+t.TempDir(), "--github.owner=o", "--github.repo=r",
		"--github.api-url="+gh.URL, "--github.token-file="+tokenFile(t, secret))
	body := b.exports("ghostrunner_docker_up 0", seenAtGitHub, seenOfToken, seenOfDisk, seenOfDNS)
	b.without(body, "ghostrunner_container_", "ghostrunner_runner_online", "ghostrunner_runner_retrying")
	b.logsOnce("Docker engine does not answer, trying again")
	if code := run(t.Context(), []string{"healthcheck", "--url=" + b.base + "/-/healthy"}, io.Discard, io.Discard); code != 0 {
		t.Errorf("health check: exit %d", code)
	}
	b.until("ready without Docker", func() bool { return strings.Contains(b.get("/-/ready"), "is ready") })
}

func TestWithoutToken(t *testing.T) {
	clean(t)
	b := boot(t, "--docker.host="+fakeDocker(t, t.TempDir()), "--github.owner=o")
	body := b.exports(seenInDocker, seenInLogs, seenOfDisk, seenOfDNS)
	b.without(body, "ghostrunner_pat_", "ghostrunner_github_", "ghostrunner_runner_online", "ghostrunner_runner_registered",
		`ghostrunner_scrape_collector_success{collector="github"}`)
	b.logsOnce("Sources github and credential are off: no token")
	if body := b.get("/metrics?collect[]=github"); strings.Contains(body, "no source is called") {
		t.Errorf("a source that is off is unknown: %q", body)
	}
}

func TestWithoutOwner(t *testing.T) {
	clean(t)
	t.Setenv("GITHUB_PAT", secret)
	b := boot(t, "--docker.host="+fakeDocker(t, t.TempDir()))
	b.exports(seenInDocker)
	b.logsOnce("Sources github and credential are off: no owner")
}

func TestWithoutChrony(t *testing.T) {
	clean(t)
	gh := fakeGitHub(t, secret)
	t.Setenv("GITHUB_PAT", secret)
	b := boot(t, "--docker.host="+fakeDocker(t, t.TempDir()), "--github.owner=o", "--github.repo=r", "--github.api-url="+gh.URL,
		"--clock.chrony-address=127.0.0.1:1", "--clock.chrony-interval=1s")
	body := b.exports(seenInDocker, seenInLogs, seenAtGitHub, seenOfToken, seenOfDisk, seenOfDNS, `ghostrunner_clock_offset_seconds{source="github"} `)
	b.without(body, `ghostrunner_clock_offset_seconds{source="chrony"}`, "ghostrunner_clock_synchronized")
	b.logsOnce("Clock source does not answer")
}

// The token of the environment is used, is gone from the environment, and is nowhere to be read;
// also where GitHub or a proxy repeats a rejected one.
func TestTokenStaysSecret(t *testing.T) {
	for name, accepted := range map[string]string{"accepted": secret, "rejected": "another"} {
		t.Run(name, func(t *testing.T) {
			clean(t)
			gh := fakeGitHub(t, accepted)
			t.Setenv("GITHUB_PAT", secret+"\n")
			b := boot(t, "--log.level=debug", "--docker.host=unix:///nonexistent", "--disk.paths="+t.TempDir(),
				"--github.owner=o", "--github.repo=r", "--github.api-url="+gh.URL)
			verdict := map[bool]string{true: "ghostrunner_pat_valid 1", false: "ghostrunner_pat_valid 0"}[accepted == secret]
			seen := b.exports(verdict) + b.get("/") + b.get("/-/ready") + b.get("/metrics?collect[]="+"nonsense")
			if _, there := os.LookupEnv("GITHUB_PAT"); there {
				t.Error("GITHUB_PAT is still in the environment")
			}
			b.stop()
			if strings.Contains(seen+b.log.String(), secret) {
				t.Errorf("the token is shown:\n%s\n%s", seen, b.log)
			}
			if !slices.Contains(gh.tokens(), secret) {
				t.Errorf("the token was not used: %q", gh.tokens())
			}
		})
	}
}

// A token file that is filled later is noticed without a restart.
func TestTokenFileIsReadAgain(t *testing.T) {
	clean(t)
	gh, file := fakeGitHub(t, secret), tokenFile(t, "\r\n")
	b := boot(t, "--docker.host=unix:///nonexistent", "--disk.paths="+t.TempDir(), "--github.owner=o", "--github.repo=r",
		"--github.api-url="+gh.URL, "--github.token-file="+file, "--github.poll-interval=1s")
	b.until("the empty file is named", func() bool { return strings.Contains(b.log.String(), file) })
	if err := os.WriteFile(file, []byte(secret+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.exports(seenOfToken)
}

func TestBadValuesAreOneLine(t *testing.T) {
	clean(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	for _, tc := range []struct {
		env  string
		args []string
		want []string
	}{
		{"", []string{"--nope"}, []string{"--nope", "--help"}},
		{"", []string{"nope"}, []string{"nope", "--help"}},
		{"", []string{"--github.poll-interval=1h"}, []string{"--github.poll-interval", "between 1s and 4m"}},
		{"", []string{"--github.poll-interval=x"}, []string{"--github.poll-interval", "such as 30s"}},
		{"CLOCK_DRIFT_SECONDS=fast", nil, []string{"CLOCK_DRIFT_SECONDS", "number greater than 0"}},
		{"PRUNE_THRESHOLD_GB=NaN", nil, []string{"PRUNE_THRESHOLD_GB", "number greater than 0"}},
		{"", []string{"--docker.reclaimable-interval=5m"}, []string{"--docker.reclaimable-interval", "at least 10m"}},
		{"", []string{"--log.level=loud"}, []string{"--log.level", "loud"}},
		{"", []string{"--log.format=xml"}, []string{"--log.format", "xml"}},
		{"", []string{"--docker.label=x"}, []string{"--docker.label", "KEY=VALUE"}},
		{"DOCKER_HOST=nonsense", nil, []string{"--docker.host", "nonsense", "unix:///"}},
		{"GITHUB_PAT=x", []string{"--github.owner=a/b", "--github.repo=c"}, []string{"--github.owner", "owner/repo"}},
		{"", []string{"--github.repo=c"}, []string{"REPO_OWNER"}},
		{"", []string{"--github.scope=a/b/c"}, []string{"--github.scope", "GITHUB_SCOPES", "owner/repo"}},
		{"GITHUB_SCOPES=o/r,x y", nil, []string{"GITHUB_SCOPES", `"x y"`, "enterprises/name"}},
		{"GITHUB_PAT=your-token-here", []string{"--github.owner=a"}, []string{"GITHUB_PAT", "placeholder", "Developer settings"}},
		{"", []string{"check", "--format=xml"}, []string{"--format", "table or json"}},
		{"GITHUB_PAT=x", []string{"--github.owner=a", "--github.api-url=ftp://h"}, []string{"--github.api-url", "https://"}},
		{"", []string{"--github.owner=a", "--github.token-file=/nonexistent"}, []string{"--github.token-file", "/nonexistent"}},
		{"", []string{"--web.config.file=/nonexistent"}, []string{"--web.config.file", "/nonexistent"}},
		{"", []string{"--web.listen-address=" + taken.Addr().String()}, []string{"--web.listen-address", taken.Addr().String(), "in use"}},
	} {
		name, value, _ := strings.Cut(tc.env, "=")
		if name != "" {
			t.Setenv(name, value)
		}
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"--web.listen-address=127.0.0.1:0"}, tc.args...), &stdout, &stderr)
		if name != "" {
			_ = os.Unsetenv(name)
		}
		got := stderr.String()
		if code != 1 || strings.Count(got, "\n") != 1 || stdout.Len() > 0 {
			t.Errorf("%s %q: exit code %d, stdout %q, stderr:\n%s", tc.env, tc.args, code, &stdout, got)
		}
		for _, want := range tc.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s %q: %q lacks %q", tc.env, tc.args, got, want)
			}
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	clean(t)
	for arg, want := range map[string]string{"--help": "--github.token-file", "-h": "CHRONY_ADDRESS", "--version": program} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{arg}, &stdout, &stderr); code != 0 || stderr.Len() > 0 || !strings.Contains(stdout.String(), want) {
			t.Errorf("%s: exit code %d, stderr %q, stdout:\n%s", arg, code, &stderr, &stdout)
		}
	}
}

func TestDNSNames(t *testing.T) {
	for api, want := range map[string][]string{
		"https://api.github.com":           {"api.github.com", "github.com"},
		"https://ghes.example/api/v3":      {"ghes.example"},
		"http://lab:10070":                 {"lab"},
		"http://127.0.0.1:8080":            nil,
		"http://[::1]:8080":                nil,
		"https://[nonsense":                nil,
		"https://ghes.example:8443/api/v3": {"ghes.example"},
	} {
		if got := dnsNames(api); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", api, got, want)
		}
	}
}
